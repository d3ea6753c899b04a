from __future__ import annotations

import subprocess
import sys

import pytest


def test_the_package_alone_imports_no_torch():
    code = "import sys, lawm.data_modules; assert not {'torch', 'lightning'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_unknown_name_in_the_package():
    with pytest.raises(ImportError, match="NoSuchThing"):
        from lawm.data_modules import NoSuchThing  # noqa: F401
