"""On the path of a process, it keeps that from importing mlflow, as a machine without memory would."""

import sys
from importlib.abc import MetaPathFinder


class _Refuse(MetaPathFinder):
    def find_spec(self, name: str, *_: object) -> None:
        if name == "mlflow":
            raise ImportError("no memory")


sys.meta_path.insert(0, _Refuse())
