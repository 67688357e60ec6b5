"""A wheel for one platform and every Python: it holds programs, and no extension module."""

from setuptools import Distribution, setup
from setuptools.command.bdist_wheel import bdist_wheel


class Native(Distribution):
    """Installed where torch is."""

    def has_ext_modules(self) -> bool:
        return True


class Platform(bdist_wheel):
    def get_tag(self) -> tuple[str, str, str]:
        return "py3", "none", super().get_tag()[2]


setup(distclass=Native, cmdclass={"bdist_wheel": Platform})
