"""What setup.cfg has no words for: recipes/ and docs/ at the top of the repository travel inside textkd.config
(of docs, the page that `textkd ls losses` reads)."""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["textkd*"]), "textkd.config.docs", "textkd.config.recipes"],
    package_dir={"textkd.config.docs": "docs", "textkd.config.recipes": "recipes"},
)
