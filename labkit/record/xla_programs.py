"""Inside a trial: what XLA places in the one block of memory that it allocates for a compiled step.

The allocator sees a single request. How XLA divides the block is in the profile, as an `HloProto` of each
compiled program: its instructions in the order planned, and for each result an offset in the block
(`BufferAssignmentProto` in xla/service/hlo.proto).
"""

import collections
import contextlib
import re

from .profiles import hlo
from .record import Program

CALLING = {"call", "conditional", "async-start"}  # these return the result of the computation that they call
FORWARDING = {"tuple", "get-tuple-element", "bitcast"}  # these only pass their operands on


def programs(space):
    """The Programs compiled in a profile (an XSpace)."""
    planes = (plane for plane in space.planes if plane.name == "/host:metadata")
    modules = (metadata for plane in planes for metadata in plane.event_metadata.values())
    compiled = []
    for stat in (stat for metadata in modules for stat in metadata.stats if stat.bytes_value):
        with contextlib.suppress(LookupError, ValueError, RecursionError):  # of an unknown format
            compiled += _blocks(hlo.program(stat.bytes_value))
    return compiled


def _blocks(proto):
    """A Program for each block of the proto: mostly a single one, besides its inputs and outputs."""
    name = re.sub(r"\d", "", proto.hlo_module.name)  # the numbers differ from run to run
    module, assignment = _Module(proto.hlo_module), proto.buffer_assignment
    defined = {buffer.id: buffer.defined_at for buffer in assignment.logical_buffers}
    aliases = collections.defaultdict(list)
    for alias in assignment.buffer_aliases:
        aliases[alias.source_buffer_id].append(alias.location)
    for block in assignment.buffer_allocations:
        outside = block.is_entry_computation_parameter or block.maybe_live_out
        if outside or block.is_constant or block.is_thread_local:
            continue
        buffers = [(defined[b.logical_buffer_id], aliases[b.logical_buffer_id], b) for b in block.assigned]
        results = [
            {**module.result(where, others), "offset": buffer.offset, "bytes": buffer.size}
            for where, others, buffer in buffers
            if buffer.size and not module.is_parameter(where)  # a parameter is the operand's own bytes
        ]
        if results:
            columns = {column: [result[column] for result in results] for column in results[0]}
            yield Program(name, block.size, columns)


class _Module:
    """The instructions of a module in planned order, those of a called computation where it is called."""

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
        self._count_instructions(module.entry_computation_id)

    def _count_instructions(self, computation):
        """Number the instructions of a computation, and of those that it calls, in planned order."""
        for number in self._sequences[computation].instruction_ids:
            instruction = self._instructions[number]
            if instruction.opcode != "fusion":
                for called in instruction.called_computation_ids:
                    if called in self._sequences:
                        self._count_instructions(called)
            self._count += 1
            self._first[number] = self._last[number] = self._count
        self._last[self._computations[computation].root_id] = self._count + 1

    def is_parameter(self, defined):
        """Whether a result is a parameter of its computation."""
        return self._instructions[defined.instruction_id].opcode == "parameter"

    def result(self, defined, aliases):
        """The columns of a result but offset and bytes: `defined` at one place, seen at its `aliases` too."""
        instruction = self._instructions[defined.instruction_id]
        shape = instruction.shape
        for index in defined.shape_index:
            shape = shape.tuple_shapes[index]
        name, users = self._own_name(instruction), {}
        for place in [defined, *aliases]:
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

    def _find_users(self, number, index, users):
        """Add the users of a result to `users`, {(instruction, index in a tuple): names of ops}."""
        if (number, index) in users:
            return
        users[number, index] = set()
        for place, user in self._users[number]:
            if user.opcode not in FORWARDING:
                users[user.id, None] = set(self._names(user)) or {self._name_of_use(user)}
            elif user.opcode == "tuple":
                self._find_users(user.id, (place, *index), users)
            elif user.opcode == "bitcast" or not index:
                self._find_users(user.id, index, users)
            elif index[0] == user.tuple_index:
                self._find_users(user.id, index[1:], users)
        for caller in self._callers[number]:
            self._find_users(caller.id, index, users)

    def _name_of_use(self, instruction):
        """TensorFlow's name of an instruction's op, or of the nearest user that has a name."""
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
        """TensorFlow's names of the ops that an instruction implements: several for a fusion."""
        fused = []
        if instruction.opcode == "fusion":
            fused = reversed(self._computations[instruction.called_computation_ids[0]].instructions)
        names = (i.metadata.op_name for i in (instruction, *fused))
        return (name for name in names if name)


def _dtype(number):
    """TensorFlow's name of one of XLA's types."""
    return hlo.DTYPES[number] if number < len(hlo.DTYPES) else ""
