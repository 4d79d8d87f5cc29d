"""What pyproject.toml cannot say: the packages are those of curate/, and the recipes beside it.

``[tool.setuptools.packages.find]`` takes no package from another folder.
"""

from setuptools import find_packages, setup

setup(
    packages=[
        *find_packages(include=["curate", "curate.*"]),
        "curate.recipes",
        "curate.recipes.parts",
    ]
)
