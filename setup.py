"""What setup.cfg has no words for: recipes/ and docs/ at the top of the repository travel inside textkd.config
(of docs, the page that `textkd ls losses` reads)."""

from pathlib import Path

from setuptools import find_packages, setup

# setuptools counts every folder as a package and warns of those that are not listed
folders = sorted(part.name for part in (Path(__file__).parent / "recipes").iterdir() if part.is_dir())
setup(
    packages=[
        *find_packages(include=["textkd*"]),
        "textkd.config.docs",
        "textkd.config.recipes",
        *(f"textkd.config.recipes.{name}" for name in folders if name != "__pycache__"),
    ],
    package_dir={"textkd.config.docs": "docs", "textkd.config.recipes": "recipes"},
)
