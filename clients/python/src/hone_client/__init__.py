"""hone_client: submits jobs to a hone coordinator, watches them, fetches what they found.

    from hone_client import Client

    with Client("https://coordinator:5780", token=TOKEN, ca_file="ca.pem") as client:
        job = client.submit("model.onnx", recipe="recipe.yaml", evaluation="samples.npz")["job"]
        client.wait(job, check=True)
        client.download(job, "out")

Needs Python 3.9 and nothing else. docs/python.md tells more.
"""
from ._version import VERSION as __version__
from .bundles import DataSet
from .client import Client
from .errors import (Cancelled, Conflict, Damaged, Denied, Exhausted, Failed, HoneError, JobFailed, Misconfigured,
                     NotFound, Place, ProtocolError, Refused, Rejected, ServerBug, Timeout, Unreachable, UnfitMachine,
                     Unsure, Untrusted, UsageError)
from .events import EventStream

__all__ = [
    "Cancelled", "Client", "Conflict", "Damaged", "DataSet", "Denied", "EventStream", "Exhausted", "Failed",
    "HoneError", "JobFailed", "Misconfigured", "NotFound", "Place", "ProtocolError", "Refused", "Rejected",
    "ServerBug", "Timeout", "Unreachable", "UnfitMachine", "Unsure", "Untrusted", "UsageError", "__version__",
]
