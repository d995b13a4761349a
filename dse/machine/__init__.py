"""Build: from design variables or a device file to what serving needs, once per design."""

from dse.machine.datacenter import datacenter_parts
from dse.machine.devices import device_parts
from dse.machine.finish import finish
from dse.machine.record import Machine, Parts

__all__ = ["Machine", "Parts", "datacenter_parts", "device_parts", "finish"]
