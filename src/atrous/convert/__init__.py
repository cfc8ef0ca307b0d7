"""Stride for dilation and back, on networks as data: plans, edits or refusals, and proofs."""

from atrous.convert.certificate import Certificate, Checked, OutputCertificate, Price
from atrous.convert.edits import Edit
from atrous.convert.records import ConversionError, Heads, Plan, Refusal
from atrous.convert.verdicts import Cause, Verdict

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
