"""What setup.cfg has no words for: the recipes at the top of the repository travel inside textkd.config."""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["textkd*"]), "textkd.config.recipes"],
    package_dir={"textkd.config.recipes": "recipes"},
)
