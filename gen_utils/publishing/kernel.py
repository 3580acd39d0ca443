"""The kernel that the press starts: this Python, whatever another one has registered under the name of its own."""

from __future__ import annotations

import os
import uuid
from typing import Any

from ipykernel.kernelspec import get_kernel_dict
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager

from .warm_kernels import DOOR, WarmProvisioner


class ThisPythonKernel(AsyncKernelManager):
    """Starts ``sys.executable`` without looking among the registered kernels, where "python3" may be any Python."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if DOOR in os.environ:
            self.kernel_id = str(uuid.uuid4())
            self.provisioner = WarmProvisioner(kernel_id=self.kernel_id, kernel_spec=self.kernel_spec, parent=self)

    @property
    def kernel_spec(self) -> KernelSpec:
        return KernelSpec(**get_kernel_dict())
