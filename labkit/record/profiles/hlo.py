"""A compiled program as XLA writes it into a profile: the fields of `HloProto` that say what lies where.

The numbers are those of xla/service/hlo.proto and xla/xla_data.proto.
"""

from . import wire

_SHAPE = {2: ("element_type", int), 3: ("dimensions", [int])}
_SHAPE[4] = ("tuple_shapes", [_SHAPE])
_INSTRUCTION = {
    2: ("opcode", str),
    3: ("shape", _SHAPE),
    7: ("metadata", {2: ("op_name", str)}),
    13: ("tuple_index", int),
    35: ("id", int),
    36: ("operand_ids", [int]),
    38: ("called_computation_ids", [int]),
}
_COMPUTATION = {2: ("instructions", [_INSTRUCTION]), 5: ("id", int), 6: ("root_id", int)}
_MODULE = {
    1: ("name", str),
    3: ("computations", [_COMPUTATION]),
    6: ("entry_computation_id", int),
    7: ("schedule", {1: ("sequences", {int: {1: ("instruction_ids", [int])}})}),
}
_PLACE = {3: ("shape_index", [int]), 4: ("instruction_id", int)}
_ASSIGNED = {1: ("logical_buffer_id", int), 2: ("offset", int), 3: ("size", int)}
_BLOCK = {
    2: ("size", int),
    3: ("is_thread_local", int),
    5: ("is_entry_computation_parameter", int),
    7: ("maybe_live_out", int),
    9: ("assigned", [_ASSIGNED]),
    12: ("is_constant", int),
}
_ASSIGNMENT = {
    1: ("logical_buffers", [{1: ("id", int), 3: ("defined_at", _PLACE)}]),
    2: ("buffer_aliases", [{1: ("source_buffer_id", int), 2: ("location", _PLACE)}]),
    3: ("buffer_allocations", [_BLOCK]),
}
_PROGRAM = {1: ("hlo_module", _MODULE), 3: ("buffer_assignment", _ASSIGNMENT)}

# Indexed by PrimitiveType; the values of tuples, opaque types and tokens are elsewhere.
DTYPES = (
    *("", "bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float16"),
    *("float32", "float64", "", "", "complex64", "bfloat16", "", "complex128", "float8_e5m2"),
    *("float8_e4m3fn", "int4", "uint4", "float8_e4m3b11fnuz", "float8_e5m2fnuz", "float8_e4m3fnuz", "int2"),
    *("uint2", "float8_e4m3", "float8_e3m4", "int1", "uint1", "float4_e2m1fn", "float8_e8m0fnu"),
)


def program(data):
    """A program from its bytes. Raises Malformed for bytes that are none."""
    return wire.decode(data, _PROGRAM)
