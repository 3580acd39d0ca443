"""The kernel that the press starts: this Python, whatever another one has registered under the name of its own."""

from __future__ import annotations

from ipykernel.kernelspec import get_kernel_dict
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager


class ThisPythonKernel(AsyncKernelManager):
    """Starts ``sys.executable`` without looking among the registered kernels, where "python3" may be any Python."""

    @property
    def kernel_spec(self) -> KernelSpec:
        return KernelSpec(**get_kernel_dict())
