"""A wheel for one platform and every Python: it holds programs, and no extension module."""

from setuptools import setup
from setuptools.command.bdist_wheel import bdist_wheel


class Platform(bdist_wheel):
    def finalize_options(self) -> None:
        super().finalize_options()
        self.root_is_pure = False

    def get_tag(self) -> tuple[str, str, str]:
        return "py3", "none", super().get_tag()[2]


setup(cmdclass={"bdist_wheel": Platform})
