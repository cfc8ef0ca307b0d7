"""Stride for dilation and back, on networks as data: plans, edits or refusals, and proofs."""

from atrous.convert.certificate import Certificate, Checked, OutputCertificate, Price
from atrous.convert.edits import Edit
from atrous.convert.records import Heads, Plan
from atrous.convert.verdicts import Cause, Verdict
from atrous.refusal import ConversionError, Refusal

__all__ = [
    "Cause",
    "Certificate",
    "Checked",
    "ConversionError",
    "Edit",
    "Heads",
    "OutputCertificate",
    "Plan",
    "Price",
    "Refusal",
    "Verdict",
]
