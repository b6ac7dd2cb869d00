"""Inside a trial: what lies in the one block of memory that XLA takes for a whole compiled step.

The allocator sees a single request. How XLA divides it is in the profile, as an `HloProto` of each compiled
program: its instructions in the order planned, and for each of their results a place in the block
(`BufferAssignmentProto` in xla/service/hlo.proto).
"""

import collections
import contextlib
import re

from .record import Program

CALLING = {"call", "conditional", "async-start"}  # what a computation called so gives, they give
FORWARDING = {"tuple", "get-tuple-element", "bitcast"}


def programs(space):
    """The Programs that were compiled, in a profile (an XSpace)."""
    from google.protobuf.message import DecodeError
    from tensorflow.compiler.xla.service import hlo_pb2

    planes = (plane for plane in space.planes if plane.name == "/host:metadata")
    kept = (metadata for plane in planes for metadata in plane.event_metadata.values())
    found = []
    for stat in (stat for metadata in kept for stat in metadata.stats if stat.bytes_value):
        with contextlib.suppress(DecodeError, LookupError, ValueError):  # of a form unknown here
            found += _blocks(hlo_pb2.HloProto.FromString(stat.bytes_value))
    return found


def _blocks(proto):
    """One program for each block of the proto: beside its inputs and outputs mostly a single one."""
    name = re.sub(r"\d", "", proto.hlo_module.name)  # the numbers differ from run to run
    module, assignment = _Module(proto.hlo_module), proto.buffer_assignment
    defined = {buffer.id: buffer.defined_at for buffer in assignment.logical_buffers}
    elsewhere = collections.defaultdict(list)
    for alias in assignment.buffer_aliases:
        elsewhere[alias.source_buffer_id].append(alias.location)
    for block in assignment.buffer_allocations:
        outside = block.is_entry_computation_parameter or block.maybe_live_out
        if outside or block.is_constant or block.is_thread_local:
            continue
        parts = [(defined[p.logical_buffer_id], elsewhere[p.logical_buffer_id], p) for p in block.assigned]
        results = [
            {**module.result(where, others), "offset": part.offset, "bytes": part.size}
            for where, others, part in parts
            if part.size and not module.is_parameter(where)  # that is the same bytes as what is given
        ]
        if results:
            columns = {column: [result[column] for result in results] for column in results[0]}
            yield Program(name, block.size, columns)


class _Module:
    """The instructions of a module in the order planned, those of a called computation where it is called."""

    def __init__(self, module):
        self._computations = {c.id: c for c in module.computations}
        self._instructions = {i.id: i for c in module.computations for i in c.instructions}
        self._sequences = module.schedule.sequences
        self._users, self._callers = collections.defaultdict(list), collections.defaultdict(list)
        for instruction in self._instructions.values():
            for place, operand in enumerate(instruction.operand_ids):
                self._users[operand].append((place, instruction))
            if instruction.opcode in CALLING:
                for called in instruction.called_computation_ids:
                    self._callers[self._computations[called].root_id].append(instruction)
        self._first, self._last, self._count = {}, {}, 0
        self._play(module.entry_computation_id)

    def _play(self, computation):
        for number in self._sequences[computation].instruction_ids:
            instruction = self._instructions[number]
            if instruction.opcode != "fusion":
                for called in instruction.called_computation_ids:
                    if called in self._sequences:
                        self._play(called)
            self._count += 1
            self._first[number] = self._last[number] = self._count
        self._last[self._computations[computation].root_id] = self._count + 1

    def is_parameter(self, defined):
        return self._instructions[defined.instruction_id].opcode == "parameter"

    def result(self, defined, elsewhere):
        """What is defined at one place, and seen at others too: a dict of the columns but for its bytes."""
        instruction = self._instructions[defined.instruction_id]
        shape = instruction.shape
        for index in defined.shape_index:
            shape = shape.tuple_shapes[index]
        name, users = self._own_name(instruction), {}
        for place in [defined, *elsewhere]:
            self._find_users(place.instruction_id, tuple(place.shape_index), users)
        last = max(self._last.get(number, 0) for number, _ in users)
        return {
            "op": name or self._name_of_use(instruction),
            "own": not name,
            "users": sorted(set().union(*users.values())),
            "shape": f"[{','.join(map(str, shape.dimensions))}]",
            "dtype": _dtype(shape.element_type),
            "begin": self._first.get(instruction.id, 0),
            "end": last + 1,
        }

    def _find_users(self, number, index, found):
        """Into `found`: {(instruction, place in a tuple): names of ops}, through what only passes it on."""
        if (number, index) in found:
            return
        found[number, index] = set()
        for place, user in self._users[number]:
            if user.opcode not in FORWARDING:
                found[user.id, None] = set(self._names(user)) or {self._name_of_use(user)}
            elif user.opcode == "tuple":
                self._find_users(user.id, (place, *index), found)
            elif user.opcode == "bitcast" or not index:
                self._find_users(user.id, index, found)
            elif index[0] == user.tuple_index:
                self._find_users(user.id, index[1:], found)
        for caller in self._callers[number]:
            self._find_users(caller.id, index, found)

    def _name_of_use(self, instruction):
        """TensorFlow's name of an instruction's op, or of the next that uses it and has one."""
        waiting, seen = collections.deque([instruction]), {instruction.id}
        while waiting:
            instruction = waiting.popleft()
            name = self._own_name(instruction)
            if name:
                return name
            users = [*(user for _, user in self._users[instruction.id]), *self._callers[instruction.id]]
            users = {user.id: user for user in users if user.id not in seen}
            seen |= users.keys()
            waiting.extend(users.values())
        return ""

    def _own_name(self, instruction):
        return next(self._names(instruction), "")

    def _names(self, instruction):
        """TensorFlow's names of the ops that an instruction is of: of a fusion, several."""
        fused = []
        if instruction.opcode == "fusion":
            fused = reversed(self._computations[instruction.called_computation_ids[0]].instructions)
        names = (i.metadata.op_name for i in (instruction, *fused))
        return (name for name in names if name)


def _dtype(number):
    """TensorFlow's name of XLA's type."""
    from tensorflow.compiler.xla import xla_data_pb2

    name = xla_data_pb2.PrimitiveType.Name(number).lower().replace("tuple", "")  # its values lie elsewhere
    kinds = {"f": "float", "s": "int", "u": "uint", "c": "complex", "bf": "bfloat"}
    letters = name.rstrip("0123456789")
    return "bool" if name == "pred" else kinds.get(letters, letters) + name[len(letters) :]
