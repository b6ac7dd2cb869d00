"""diagnose(): what ended a process, in the words of shells, containers, schedulers, people; names of ops."""

import itertools
import json

import pytest

import labkit
from labkit.sizes import MIB

STATUS = [
    *("exit code {}", "exited with code {}", "exit status {}", "Exited ({}) 3 minutes ago", "exit code: {}"),
    *("exitCode: {}", '"ExitCode": {},', "exit_code={}", "process_exit_code={}", "Exit Code:    {}"),
    *(
        "returned a non-zero code: {}",
        "returned non-zero exit status {}.",
        "returncode={}",
        "return code: {}",
    ),
    *("Process finished with exit code {} (interrupted)", "failed with exit code {}", "ended with code {}"),
    *(
        "command terminated with exit code {}",
        "exit {}",
        "non-zero exit code ({})",
        "with an exit status of {}",
    ),
    *(
        "##[error]Process completed with exit code {}.",
        "Subprocess return code: {}",
        "rc={}",
    ),
]
NO_STATUS = [
    *(
        "returned {} rows",
        "step {}: loss 0.5",
        "{}/200 [====] - ETA: 1s",
        "exit code 1, after {} s",
        "in line {}",
    ),
    *("Error {}: connection refused", "return model[{}]", "layer {} of 200", "non-zero elements: {}"),
]


@pytest.mark.parametrize(("said", "code"), list(itertools.product(STATUS, [137, -9, 247])))
def test_a_status_of_a_killed_process_is_known_however_it_is_named(said, code):
    found = labkit.diagnose(f"Epoch 1/9\n{said.format(code)}\n")
    assert (found.cause, found.confidence) == ("host_memory", "likely"), said
    assert labkit.diagnose(f"Epoch 1/9\n{said.format(1)}\n").cause == "not_oom"


@pytest.mark.parametrize("said", NO_STATUS)
def test_a_number_that_is_no_status_is_none(said):
    assert labkit.diagnose(said.format(137)).cause == "not_oom"


@pytest.mark.parametrize(
    "said",
    [
        *(
            "make: *** [train] Error 137",
            "make[1]: *** [Makefile:8: train] Error 137",
            "zsh: killed  python train.py",
        ),
        *(
            "zsh: killed python train.py",
            "bash: line 3: 4711 Killed   python train.py",
            'It ends with "Killed".',
        ),
        *(
            "All I see is `Killed`",
            "I only get `zsh: killed` and nothing else",
            "The process is being killed, why?",
        ),
        *("and the script gets killed after an hour", "my training was killed in epoch 3"),
        *("Main process exited, code=killed, status=9/KILL", "JobId=7 State=FAILED ExitCode=0:9"),
    ],
)
def test_a_process_that_was_killed_is_known_in_shells_and_in_prose(said):
    assert labkit.diagnose(f"{said}\n").cause == "host_memory"


@pytest.mark.parametrize(
    "said",
    ["killed two birds", "the killed mutants", "Killed workers restart: see the docs", "an unkilled task"],
)
def test_not_all_that_is_killed_is_a_process(said):
    assert labkit.diagnose(f"{said}\n").cause == "not_oom"


ENDS = ("crashed", "was killed", "was terminated", "has been restarted", "stopped")
WHY = (
    "due to insufficient RAM",
    "due to low memory",
    "for using too much memory",
    "after running out of RAM",
)
WHY += ("because of a lack of system memory", "due to excessive memory", "because it was low on memory")


@pytest.mark.parametrize(("end", "why"), list(itertools.product(ENDS, WHY)))
def test_who_ended_it_may_say_why_in_any_words(end, why):
    found = labkit.diagnose(f"Your session {end} {why}.\n")
    assert (found.cause, found.confidence) == ("host_memory", "likely")


@pytest.mark.parametrize("why", ["because of CUDA running low on memory", "due to insufficient GPU memory"])
def test_what_is_of_the_gpu_is_not_of_the_host(why):
    assert labkit.diagnose(f"My training crashed {why}.\n").cause != "host_memory"


def test_ray_says_how_much_was_in_use():
    said = (
        "Memory on the node (IP: 10.0.0.5, ID: 0a1b) where the task was running was 59.50GB / 62.00GB "
        "(0.9597), which exceeds the memory usage threshold of 0.95."
    )
    found = labkit.diagnose(f"ray.exceptions.OutOfMemoryError: Task was killed.\n{said}\n")
    assert found.cause == "host_memory"
    assert (found.in_use_bytes, found.limit_bytes) == (int(59.5 * 2**30), 62 * 2**30)
    for words in ("the node running low on memory", "memory pressure (OOM)"):
        assert labkit.diagnose(f"2 Workers (tasks / actors) killed due to {words}").confidence == "certain"


def test_dask_tells_a_worker_that_is_full_from_one_that_was_ended():
    full = "Unmanaged memory use is high. Process memory: 3.70 GiB -- Worker memory limit: 4.00 GiB"
    ended = "distributed.nanny - WARNING - Worker exceeded 95% memory budget. Restarting"
    found = labkit.diagnose(full)
    assert (found.cause, found.confidence, found.limit_bytes) == ("host_memory", "likely", 4 * 2**30)
    assert labkit.diagnose(f"{full}\n{ended}").confidence == "certain"


@pytest.mark.parametrize("cut", range(16, 60, 7))
def test_who_ended_it_may_be_read_over_a_line_break(cut):
    said = "Container killed by YARN for exceeding memory limits. 12.0 GB of 12 GB physical memory used"
    at = said.rindex(" ", 0, cut)
    assert labkit.diagnose(f"{said[:at]}\n{said[at + 1 :]}\n").cause == "host_memory"


# Several messages in one line

LOGGED = "2024-05-06 07:08:09.123456: W tensorflow/x.cc:82] "
TENTH = f"{LOGGED}Allocation of {{}} exceeds 10% of free system memory."
TRIED = (
    f"{LOGGED}Allocator (GPU_0_bfc) ran out of memory trying to allocate 2.00GiB. The caller indicates that "
    "this is not a failure, but may mean that there could be performance gains."
)
OOM = "OOM when allocating tensor with shape[64,100,100,3] and type float on GPU:0 by allocator GPU_0_bfc"


@pytest.mark.parametrize("between", ["", " ", "  ", "\t"])
@pytest.mark.parametrize("warning", [TENTH.format(77), TRIED])
def test_a_failure_behind_a_warning_in_the_same_line_is_not_hidden_by_it(warning, between):
    for failure, cause in (
        (f" {OOM}", "activations"),
        (" Killed", "host_memory"),
        (f". {OOM}", "activations"),
    ):
        assert labkit.diagnose(f"{warning}{between}{failure}").cause == cause
    assert labkit.diagnose(f"{OOM} {warning}").cause == "activations"
    several = between.join([warning, TENTH.format(5 * 2**30), warning])
    found = labkit.diagnose(several)
    assert found.cause == "warning_only" and found.requested_bytes == 5 * 2**30


# Names of ops


@pytest.mark.parametrize(
    ("node", "op"),
    [
        ("a/while/body/_37/a/while/cell/MatMul", "a/while/body/_37/a/while/cell/MatMul"),
        ("norm/cond/then/_0/FusedBatchNorm", "norm/cond/then/_0/FusedBatchNorm"),
        ("model/_hidden/dense/MatMul", "model/_hidden/dense/MatMul"),
        ("_arg_x_0_1", None), ("_retval_loss_0_0", None), ("model/dense/MatMul/_23", None),
    ],
)  # fmt: skip
@pytest.mark.parametrize(
    "form", ["[[{{{{node {}}}}}]]", "[[{{{{node\n    {}}}}}]]", "[[node {} (defined at a.py:3)]]"]
)
def test_a_node_in_the_body_of_a_loop_or_a_branch_is_an_op(node, op, form):
    assert labkit.diagnose(f"{OOM}\n\t {form.format(node)}").op == op


@pytest.mark.parametrize(
    "path", ["keras/optimizers/adam.py", "C:\\core\\leras\\optimizers\\Ada.py", "optimizer_v2/a.py"]
)
def test_an_op_that_is_defined_in_an_optimizer_is_one_of_it(path):
    said = "Resource exhausted: failed to allocate memory\n\t [[node mul_89 (defined at {}:64) ]]"
    assert labkit.diagnose(said.format(path)).cause == "weights_or_optimizer"
    assert labkit.diagnose(said.format("train.py")).cause != "weights_or_optimizer"


# Which memory


@pytest.mark.parametrize(
    "name", ["cpu", "mklcpu", "cuda_host_bfc", "gpu_host_bfc", "xla_gpu_host_bfc", "rocm_host_bfc"]
)
def test_an_allocator_of_the_host_is_told_by_its_name(name):
    refused = f"Allocator ({name}) ran out of memory trying to allocate 2.00GiB"
    assert labkit.diagnose(refused).cause == "host_memory"


def test_a_device_that_is_the_cpu_is_the_hosts_memory_where_no_allocator_says_otherwise():
    on_cpu = "OOM when allocating tensor with shape[64,100,100,3] and type float on /job:a/device:CPU:0"
    assert labkit.diagnose(f"{on_cpu} by alloc").cause == "host_memory"
    assert labkit.diagnose(f"{on_cpu} by allocator bfc_cpu_allocator_for_gpu").cause == "activations"
    node = '[[Node: a/Cast = Cast[DstT=DT_FLOAT, _device="/job:a/device:{}:0"](x)]]'
    short = "OOM when allocating tensor with shape[64,100,100,3]"
    assert labkit.diagnose(f"{short}\n\t {node.format('CPU')}").cause == "host_memory"
    assert labkit.diagnose(f"{short}\n\t {node.format('GPU')}").cause == "activations"


def test_what_was_copied_between_devices_is_no_array_of_the_reader():
    said = "Dst tensor is not initialized.\n\t [[{{{{node {}}}}}]]"
    assert labkit.diagnose(said.format("decoder/embedding_lookup/_61")).cause != "array_copied_to_device"
    assert labkit.diagnose(said.format("Const")).cause == "array_copied_to_device"


# How much


@pytest.mark.parametrize(
    ("said", "cause", "requested"),
    [
        ("Failed to allocate 50331648 bytes for new constant", "activations", 48 * MIB),
        (
            "MIOpen Error: x.cpp:68: Memory not available to allocate buffer: 50331648",
            "activations",
            48 * MIB,
        ),
        ("tcmalloc: large alloc 50331648 bytes == (nil) @", "host_memory", 48 * MIB),
        (
            "Attempting to reserve 48.00M at the bottom of memory. That was not possible.",
            "activations",
            48 * MIB,
        ),
    ],
)
def test_amounts_in_other_words(said, cause, requested):
    found = labkit.diagnose(f"{said}\n")
    assert (found.cause, found.requested_bytes) == (cause, requested)


def test_of_what_a_tpu_has_free_the_part_that_can_be_had_is_the_largest_block():
    refused = "Attempting to reserve 6.00G. That was not possible. There are 7.00G free"
    assert labkit.diagnose(f"{refused}, 0B reserved, and 3.00G reservable.").largest_free_bytes == 3 * 2**30


def test_the_pool_that_a_driver_refuses_is_no_tensor():
    said = "failed to allocate 11.00G (11811160064 bytes) from device: CUDA_ERROR_OUT_OF_MEMORY"
    found = labkit.diagnose(f"{said}\nwith 11000 MB memory")
    assert found.cause == "memory_taken_before_start" and "tensor alone" not in str(found)


def test_what_was_tried_out_is_known_behind_a_heading_that_says_less():
    heading = "No algorithm worked! Error messages:"
    tried = "Profiling failure on CUDNN engine eng11{}: UNKNOWN: CUDNN_STATUS_ALLOC_FAILED"
    assert labkit.diagnose(f"{heading}\n{tried}").cause == "autotuning"


# What is said not to be so


@pytest.mark.parametrize(
    "said",
    [
        *('"OOMKilled": false,', "OOMKilled=false ExitCode=1", "OOMKilled: False", "oom_kill 0"),
        *("dmesg shows no oom-kill, so memory is not the problem", "INFO no workers were killed"),
        *("[launch.py:328:sigkill_handler] Main process received SIGINT, exiting", "OOM events: 0"),
        "Unable to shutdown process 7 via Signals.SIGTERM, forcefully exiting via Signals.SIGKILL",
        *(
            "docker stop sends SIGTERM, and after 10 s SIGKILL",
            "Command timed out after 9 s, sending SIGKILL",
        ),
        *("out-of-memory errors: 0", "usage: train.py [--oom-retry]", "Process 123 was killed by user"),
        *("job was killed because it ran for too long", "ran out of memory in worker 0, skipping batch"),
    ],
)
def test_what_is_denied_or_was_done_on_purpose_is_no_lack_of_memory(said):
    assert labkit.diagnose(f"KeyError: 'loss'\n{said}\n").cause == "not_oom"


@pytest.mark.parametrize(
    "why",
    [
        "slurmstepd: error: *** STEP 7.0 ON n1 CANCELLED AT 2026-01-02T03:04:05 DUE TO TIME LIMIT ***",
        *("Instance was preempted", "KeyboardInterrupt", "Job timed out after 3600 s"),
    ],
)
@pytest.mark.parametrize("end", ["Killed", "srun: error: n1: task 0: Killed", "exit code 137"])
def test_a_process_that_was_ended_for_another_reason_is_none_that_memory_ended(end, why):
    found = labkit.diagnose(f"Epoch 3/9\n{why}\n{end}\n")
    assert found.cause == "not_oom" and "ended by its user, a time limit" in str(found)
    both = labkit.diagnose(f"{why}\n{end}\n{OOM}\n")
    assert both.cause == "activations"


def test_versions_that_do_not_go_together_are_no_lack_of_memory():
    library = "Could not create cudnn handle: CUDNN_STATUS_NOT_INITIALIZED"
    versions = "Loaded runtime CuDNN library: 7.1.2 but source was compiled with: 7.2.1"
    vague = "cuDNN failed to initialize"
    assert labkit.diagnose(f"{versions}\n{vague}").cause == "not_oom"
    assert (
        labkit.diagnose("srcIndex < srcSelectDimSize failed\nCUBLAS_STATUS_NOT_INITIALIZED").cause
        == "not_oom"
    )
    assert labkit.diagnose(library).cause == labkit.diagnose(vague).cause == "memory_taken_before_start"


def test_a_checkpoint_that_cannot_be_written_is_the_disks():
    found = labkit.diagnose("ResourceExhaustedError: run/model.ckpt-7.data-00000-of-00001.tempstate42")
    assert found.cause == "not_oom" and "disk" in str(found)


def test_the_collector_that_keeps_oom_away_is_no_oom():
    said = "Garbage collection: deallocate free memory regions to re-allocate a larger region to avoid OOM"
    assert labkit.diagnose(f"{said} due to memory fragmentation.\nTest accuracy: 0.93").cause == "not_oom"


# Which of several


def test_epochs_are_those_of_the_run_that_failed():
    done = "10/10 - 3s 1/step"
    before = f"Epoch 1/2\n{done}\nEpoch 2/2\n{done}\nEpoch 50/50\n{done}\n"
    for new in (
        "nohup: ignoring input",
        "Using TensorFlow backend.",
        "Created device /device:GPU:0",
        "Epoch 1/50",
    ):
        assert labkit.diagnose(f"{before}{new}\n{OOM}").cause == "activations"
    assert labkit.diagnose(f"Epoch 127 BS 307 LR 0.1\n{OOM}").cause == "activations"
    assert labkit.diagnose(f"{before}Epoch 7/50\n{OOM}").cause == "growth"


@pytest.mark.parametrize(
    "later", ["slurmstepd: error: Detected 1 oom-kill event(s)", "Reason: OUT_OF_MEMORY"]
)
def test_who_knows_why_it_was_killed_is_believed_wherever_it_stands(later):
    assert labkit.diagnose(f"line 3: 47 Killed   python a.py\n{later}\n").confidence == "certain"


def test_a_dump_is_that_of_the_failure_however_it_is_introduced():
    dump = (
        "W a/bfc_allocator.cc:1] Stats:\nLimit:     800\nInUse:     700\nW a/bfc_allocator.cc:2] " + 100 * "*"
    )
    found = labkit.diagnose(f"I get gpu out of memory errors like so:\n{dump}\n")
    assert (found.limit_bytes, found.in_use_bytes) == (800, 700)


# What the layer had received


def test_an_error_of_keras_without_a_shape_has_that_of_its_layers_input():
    said = (
        "ResourceExhaustedError: Exception encountered when calling Activation.call().\n\n"
        "{{{{function_node __wrapped__{0}_device_/job:a/device:GPU:0}}}} failed to allocate memory "
        "[Op:{0}] name: \n\n"
        "Arguments received by Activation.call():\n  • inputs=tf.Tensor(shape=({1}), dtype=float32)"
    )
    found = labkit.diagnose(said.format("Sigmoid", "16, 32, 32, 1344"))
    assert (found.cause, found.shape, found.requested_bytes) == ("activations", (16, 32, 32, 1344), 84 * MIB)
    assert labkit.diagnose(said.format("Softmax", "8, 12, 2048, 2048")).cause == "attention"
    found = labkit.diagnose(said.format("Maximum", "16, 32, 32, 1344"))
    assert found.cause == "activations" and found.shape is None
    assert "The layer had received float32[16, 32, 32, 1344], 84.0 MiB." in found.evidence


# Other products


@pytest.mark.parametrize(
    ("said", "cause", "facts"),
    [
        ("Memory limit of 512 MiB exceeded with 530 MiB used", "host_memory", {}),
        ("Please use an instance type with more memory", "host_memory", {}),
        ("OpenBLAS error: Memory allocation still failed after 10 retries, giving up.", "host_memory", {}),
        ("Job exceeded a memory resource limit (vmem, pvmem, etc.). Job was aborted", "host_memory", {}),
        ("the error is `MemoryError`.", "host_memory", {}),
        (
            "ERROR: bus error in worker: insufficient shared memory (shm)",
            "host_memory",
            {},
        ),
        (
            "Available memory of 1048576 is smaller than requested bytes of 50331648",
            "activations",
            {48 * MIB},
        ),
        ("Failed to allocate memory for requested buffer of size 50331648", "activations", {48 * MIB}),
        ("Device memory allocation of size 50331648 failed.", "activations", {48 * MIB}),
        ("allocating 48.00 MiB on device 0: cudaMalloc failed: out of memory", "activations", {48 * MIB}),
        ("MPS backend out of memory. Tried to allocate 256 bytes on shared pool.", "activations", {256}),
        (
            "Cannot allocate 48.000000MB memory on GPU 0, 6.000000GB memory has been allocated and available "
            "memory is only 0.000000B.",
            "activations",
            {48 * MIB, 6 * 2**30},
        ),
    ],
)
def test_other_products_say_it_in_their_words(said, cause, facts):
    found = labkit.diagnose(f"{said}\n")
    assert found.cause == cause
    assert set(facts) <= {found.requested_bytes, found.in_use_bytes}


# What only looks like it


@pytest.mark.parametrize(
    "said",
    [
        *(
            "except MemoryError:",
            "    152     except (OSError, MemoryError):",
            "raise MemoryError('too large')",
        ),
        *("times memory limit exceeded: 0", "the job is killed if it exceeds 24 h", "exit status of -9.5"),
        *("200.5 MB of 1 GB physical memory used; 1.5 GB of 2.1 GB virtual memory used", "code=247 ms"),
        "a session is terminated after 90 minutes of inactivity; low memory mode saves RAM",
        *("preempted trials 0", "CUDA_ERROR_ILLEGAL_ADDRESS\nGPU sync failed", "return code: 247 items"),
    ],
)
def test_ordinary_lines_are_no_lack_of_memory(said):
    assert labkit.diagnose(f"{said}\nValueError: shapes (2,) and (3,) differ\n").cause == "not_oom"


@pytest.mark.parametrize(
    "beside", ["    except KeyboardInterrupt:", "Command timed out: a", "preempted trials 0"]
)
def test_a_stray_line_does_not_speak_for_a_process_that_was_killed(beside):
    assert labkit.diagnose(f"{beside}\nKilled\n").cause == "host_memory"


def test_another_reason_counts_only_near_the_end_that_it_explains():
    far = "step 1\n" * 3000
    assert labkit.diagnose(f"KeyboardInterrupt\n{far}Killed\n").cause == "host_memory"
    assert labkit.diagnose(f"{far}KeyboardInterrupt\nKilled\n").cause == "not_oom"


@pytest.mark.parametrize("said", ["not sure why OOM happens", "no idea why CUDA out of memory appears"])
def test_not_every_no_denies_it(said):
    assert labkit.diagnose(said).cause != "not_oom"


@pytest.mark.parametrize(
    "form", ["rank {} exited with code: 137", "task {}: exit code: -9", "GPU {}: out of memory"]
)
def test_messages_that_are_alike_keep_their_words(form):
    said = "".join(f"{form.format(number)}\n" for number in range(6))
    assert labkit.diagnose(said).cause == labkit.diagnose(form.format(0)).cause != "not_oom"


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize(
    "state",
    [
        {"OOMKilled": True, "ExitCode": 137},
        {"exit_code": 137},
        {"returncode": -9},
        {"terminated": {"exitCode": 137}},
    ],
)
def test_how_a_container_ended_is_read_in_json(state, indent):
    said = json.dumps([{"Name": "train", "State": state}], indent=indent)
    assert labkit.diagnose(said).cause == "host_memory"
    assert (
        labkit.diagnose(json.dumps([{"Name": "train", "State": {"OOMKilled": False}}])).cause != "host_memory"
    )


def test_the_prose_of_a_notebook_is_no_error_of_it():
    prose = {
        "cell_type": "markdown",
        "source": ["If your session crashed after using all available RAM, ..."],
    }
    code = {"cell_type": "code", "outputs": [{"text": ["accuracy 0.9\n"]}], "source": ["fit()"]}
    assert labkit.diagnose(json.dumps({"cells": [prose, code], "nbformat": 4})).cause == "not_oom"
    died = code | {"outputs": [{"text": [f"{OOM}\n"]}]}
    assert labkit.diagnose(json.dumps({"cells": [prose, died], "nbformat": 4})).cause == "activations"


@pytest.mark.parametrize("at", range(20, 170, 13))
def test_a_warning_stays_one_over_a_line_break(at):
    words = TRIED.split(" ")
    at = min(at // 6, len(words) - 1)
    said = f"{' '.join(words[:at])}\n{' '.join(words[at:])}\n"
    assert labkit.diagnose(said).cause in ("warning_only", "not_oom", "unknown"), said


# As people tell it

HOST = (
    "It consumes all available system RAM", "then it fills up RAM and hangs", "RAM is not enough",
    "the CPU RAM is consumed", "killed because of a slurm out-of-memory error", "an OOM error (CPU RAM)",
    "I get OOM on the CPU", "I get a MemoryError when calling to_categorical", "MemoryError on linux",
    "my process keeps getting killed when the buffer fills", "My kernel is dying again",
    "BrokenProcessPool: A process in the process pool was terminated abruptly while it ran",
)  # fmt: skip


@pytest.mark.parametrize("said", HOST)
def test_what_people_tell_of_the_hosts_memory_is_never_certain(said):
    found = labkit.diagnose(f"What can I do?\n{said}.\nThe data has 3 GB.\n")
    assert (found.cause, found.confidence != "certain") == ("host_memory", True)


@pytest.mark.parametrize(
    "said",
    [
        "consumes all GPU RAM",
        "OOM on CPU and GPU",
        "fills up the RAM disk",
        "is filling up RAM buffers",
        "no MemoryError when it runs again",
        "except MemoryError as e:",
        "the RAM is 16 GB",
    ],
)
def test_what_sounds_like_it_is_not_the_hosts_memory(said):
    assert labkit.diagnose(f"What can I do?\nIt {said}.\n").cause != "host_memory"


@pytest.mark.parametrize(
    "said",
    [
        "on the second loop of cross-validation",
        "in the last fold",
        "after about 4 or 5 rounds of a grid search",
        "after 10-12 epochs",
        "after several iterations",
        "upon the third model",
    ],
)
def test_where_others_had_run_before_growth_is_a_guess(said):
    found = labkit.diagnose(f"Hello\nThen I get an OOM error {said}. Why?\n")
    assert (found.cause, found.confidence) == ("growth", "a guess")
    assert labkit.diagnose("Hello\nThen I get an OOM error. Why?\n").cause == "unknown"


def test_the_op_that_a_post_names_is_read_without_the_error_itself():
    post = (
        "ResourceExhaustedError, when running a U-Net\n\nCaused by op 'conv2d_1/convolution', defined at:\n"
    )
    found = labkit.diagnose(post + '  File "<string>", line 1, in <module>\n')
    assert (found.cause, found.op, found.confidence) == ("activations", "conv2d_1/convolution", "a guess")


@pytest.mark.parametrize("where", ["on GPU", "on the GPU", "in my VRAM", "for CUDA", "of the device"])
def test_little_memory_of_a_device_is_not_of_the_host(where):
    said = "Error allocating 511161600 bytes of device memory (out of memory)."
    found = labkit.diagnose(f"Insufficient memory {where} for an embedding\n\n{said}\n")
    assert found.cause != "host_memory" and found.requested_bytes == 511161600


@pytest.mark.parametrize(
    ("said", "cause"),
    [
        ("My training data is larger than 2GB, so I use a generator", "not_oom"),
        ("The saved checkpoint is larger than 2GB. git push failed", "not_oom"),
        ("It refuses to serialize variables that are larger than 2GB", "not_oom"),
        (
            "ValueError: Cannot create a tensor proto whose content is larger than 2GB.",
            "array_copied_to_device",
        ),
        ("ValueError: GraphDef cannot be larger than 2GB.", "array_copied_to_device"),
    ],
)
def test_what_is_larger_than_2_gb_must_be_a_graph_or_its_constant(said, cause):
    assert labkit.diagnose(f"{said}\n").cause == cause


# Warnings, and what stands beside them


def test_a_warning_of_a_tenth_hides_neither_another_error_nor_a_full_gpu():
    tenth = TENTH.format(164634400)
    versions = "Loaded runtime CuDNN library: 8.0.5 but source was compiled with: 8.1.0."
    assert labkit.diagnose(f"{tenth}\n{tenth}\n{LOGGED}{versions}\n").cause == "not_oom"
    refused = f"{LOGGED}failed to allocate 256.00M (268435456 bytes) from device: CUDA_ERROR_OUT_OF_MEMORY"
    refused = refused.replace(": W ", ": I ")
    assert labkit.diagnose(f"{refused}\n{refused}\n{tenth}\n").cause == labkit.diagnose(f"{refused}\n").cause
    assert labkit.diagnose(f"{refused}\n{TRIED}\n").cause == "warning_only"
    for said in labkit.diagnose(f"{tenth}\nEpoch 2/9\n").evidence:
        assert "tried to use more memory to be faster" not in said


def test_of_jax_a_warning_of_the_same_size_tells_of_no_tries():
    warned = (
        "Allocator (GPU_0_bfc) ran out of memory trying to allocate 9.79GiB with freed_by_count=0. The caller"
    )
    warned = f"{LOGGED}{warned} indicates that this is not a failure, but this may mean a slower program."
    error = "RESOURCE_EXHAUSTED: Out of memory while trying to allocate 10516807680 bytes."
    of_jax = f"{warned}\njaxlib.xla_extension.XlaRuntimeError: {error}\n"
    assert labkit.diagnose(of_jax).cause != "autotuning"
    assert (
        labkit.diagnose(f"{warned}\ntensorflow.python.framework.errors_impl: {error}\n").cause == "autotuning"
    )


def test_what_xla_used_of_its_memory_is_read_without_its_beginning():
    found = labkit.diagnose("FAILED (OOM). `Used 41.76G of 31.25G hbm. Exceeded hbm capacity by 10.51G.`\n")
    assert (found.requested_bytes, found.limit_bytes) == (int(41.76 * 2**30), int(31.25 * 2**30))
    listed = "\tBuffer 11:\n\t\tSize: 96.00MiB\n\t\tXLA Label: fusion\n\t\tShape: f32[128,256,768]\n" * 3
    assert labkit.diagnose(listed).cause == "unknown"


def test_a_title_that_is_cut_off_gives_way_to_the_error_below_it():
    error = (
        "OOM when allocating tensor with shape[2028,1744,64] and type float on GPU:0 by allocator GPU_0_bfc"
    )
    found = labkit.diagnose(f"OOM when allocating tensor with shape...\n\nHello,\n\nI get this:\n\n{error}\n")
    alone = labkit.diagnose(f"{error}\n")
    assert (found.cause, found.shape, found.requested_bytes) == (
        alone.cause, alone.shape, alone.requested_bytes,
    )  # fmt: skip
    assert found.evidence[0].startswith("Line 7")


def test_a_copy_that_failed_is_known_by_its_beginning():
    start = "Failed copying input tensor from /job:localhost/device:CPU:0 to /job:localhost/device:GPU:0"
    for end in (" in order to run _Ea", "", " in order to run _EagerConst: Dst tensor is not initialized."):
        assert labkit.diagnose(f"InternalError: {start}{end}\n").cause == "array_copied_to_device"


def test_a_shape_in_plain_words():
    found = labkit.diagnose("It cannot allocate a tensor of [512, 32, 22, 22, 22] on my GPU.\n")
    assert (found.cause, found.shape) == ("activations", (512, 32, 22, 22, 22))


@pytest.mark.parametrize(
    ("said", "shape", "cause"),
    [
        (
            "The OOM happens when trying to allocate a [16, 20000, 20000] tensor.",
            (16, 20000, 20000),
            "attention",
        ),
        ("I get an OOM allocating tensor with shape[68423,1024] in the end.", (68423, 1024), "activations"),
        ("It runs out of memory on a tensor of shape (64, 224, 224, 64).", (64, 224, 224, 64), "activations"),
        ("I get an OOM error [1, 2] and see [3] in the list (4, 5).", None, "unknown"),
        ("Out of memory [16, 20000, 20000] maybe.", None, "unknown"),
    ],
)
def test_the_shape_that_somebody_tells_counts_but_never_for_certain(said, shape, cause):
    found = labkit.diagnose(f"Hello\n{said}\nThanks\n")
    assert (found.cause, found.shape) == (cause, shape)
    assert found.confidence != "certain" and all(fix.saves is None for fix in found.fixes)


LEAKING = [
    *("Memory leak on the torch backend", "My layer leaks memory on the M1", "there is a memory leak in fit"),
    *(
        "The memory keeps growing with each call",
        "GPU memory usage constantly increases",
        "memory was rising",
    ),
    *("This logs continuous memory growth:", "RAM is fine, yet memory slowly climbs while it trains"),
]
NO_LEAK = [
    *("UserWarning: KMeans is known to have a memory leak on Windows with MKL", "no memory leak was found"),
    *("This can be caused by a too short worker timeout or by a memory leak.", "Fixes a memory leak in 2.4"),
    *("Starting valgrind, a memory leak detector", "This version removes a memory leak in tf.data."),
    *(
        "note: possible memory leak of 3 objects",
        "Run the memory leak checker",
        "this is a memory leak sanitizer",
    ),
    *("set this to avoid a memory leak", "memory is allocated", "the memory limit was increased to 8 GB"),
]


GROWING = [
    *("RAM usage is growing with every trial", "the memory consumption rises after each call of predict()"),
    *("Memory use (RAM) - grows too fast", "My RAM memory usage increases", "RAM consumption growth in fit"),
    *("memory increases slowly on each epoch", "the GPU memory is not released", "It never frees the memory"),
    *(
        "it goes on without releasing any RAM",
        "VRAM isn't freed when I delete it",
        "memory usage climbs over time",
    ),
    *("the memory linearly increases", "the RAM is rapidly growing on each step", "unable to free my RAM"),
    *("For each file, the GPU memory grows by 3 MB", "I cannot release the GPU memory", "memory only grows"),
]
STEADY = [
    *("RAM usage grows with the batch size", "memory usage", "memory increases speed", "a RAM of 16 GB"),
    *("there is not free parking", "each epoch increases the accuracy", "released without tests"),
]
LEAKING += [f"{said}, why?" for said in GROWING]
NO_LEAK += [f"{said}, why?" for said in STEADY]


@pytest.mark.parametrize("said", [*LEAKING, *NO_LEAK])
def test_memory_that_is_told_to_grow_is_growth_by_guess(said):
    found = labkit.diagnose(f"Hi,\n{said}\nEpoch 1/2\n")
    assert (found.cause, found.confidence) == (
        ("growth", "a guess") if said in LEAKING else ("not_oom", "likely")
    )


def test_a_leak_that_is_told_changes_no_error_that_is_there():
    other = 'Traceback (most recent call last):\n  File "a.py", line 3, in f\nValueError: bad shape\n'
    assert labkit.diagnose(f"There is a memory leak\n{other}").cause == "not_oom"
    error = "OOM when allocating tensor with shape[64,224,224,64] and type float"
    assert labkit.diagnose(f"Is it a memory leak?\n{error}\n").cause == "activations"
    assert labkit.diagnose("On torch we OOM in the first epoch. This is a memory leak.\n").cause == "growth"


def test_models_trained_in_a_loop_as_it_is_told():
    error = "ResourceExhaustedError: OOM when allocating tensor with shape[64,9]"
    for loop in ("several models in a for loop", "a new model in a loop"):
        found = labkit.diagnose(f"This happens when training {loop}:\n{error}\n")
        assert (found.cause, found.confidence) == ("growth", "likely")
    assert labkit.diagnose(f"This happens when training several models:\n{error}\n").cause != "growth"


def test_a_refusal_while_xla_says_which_algorithm_it_tries():
    alarm = f"{LOGGED}Trying algorithm eng0{{}} for conv (f32[512,512,3,3]) is taking a while...\n"
    refused = f"{LOGGED}Allocator (GPU_0_bfc) ran out of memory trying to allocate 129.12MiB\n"
    assert labkit.diagnose(alarm + refused).cause == "autotuning"
    assert labkit.diagnose(alarm + "Epoch 1/2\n" * 30 + refused).cause != "autotuning"


def test_a_warning_is_known_without_the_allocator_before_it():
    said = '"ran out of memory trying to allocate 570.66MiB. The caller indicates that this is not a failure"'
    assert labkit.diagnose(f"Out of memory?\n{said}\nWhat now?\n").cause == "warning_only"


@pytest.mark.parametrize("mark", ["**", "*", "__", "`", ""])
def test_killed_in_the_marks_of_markdown(mark):
    assert labkit.diagnose(f"{mark}{TENTH.format(10616832)}\nKilled{mark}\n\nHelp!\n").cause == "host_memory"


def test_an_error_before_its_log_has_what_the_log_says():
    error = "InternalError: Failed copying input tensor from CPU:0 to GPU:0 in order to run _EagerConst: "
    dump = f"{LOGGED}Stats:\nLimit: {2**33}\nInUse: {2**33 - 4096}\n"
    found = labkit.diagnose(f"{error}Dst tensor is not initialized.\n\n{dump}")
    assert (found.cause, found.limit_bytes) == ("array_copied_to_device", 2**33)


def test_a_data_set_that_is_loaded_whole_and_crashes():
    said = "When caching, TensorFlow first loads the entire data set into memory. This crashes the job."
    assert labkit.diagnose(f"{said}\n").cause == "host_memory"
    assert labkit.diagnose("It loads the entire data set into memory, which is fast.\n").cause == "not_oom"


def test_processes_that_share_a_gpu_by_being_copies():
    title = "Cuda out of memory while using fit_generator"
    assert (
        labkit.diagnose(f"{title}\nmodel.fit(X, use_multiprocessing=True)\n").cause
        == "memory_taken_before_start"
    )
    assert labkit.diagnose(f"{title}\nmodel.fit(X, use_multiprocessing=False)\n").cause == "activations"


def test_a_driver_that_refuses_little_had_hardly_any():
    asked = "failed to allocate {} ({} bytes) from device: CUDA_ERROR_OUT_OF_MEMORY: out of memory"
    refused = (
        f"{LOGGED}Allocator (GPU_0_bfc) ran out of memory trying to allocate 4.50MiB (rounded to 4718592)"
    )
    for told, size, cause in (
        ("20.34M", 21331968, "memory_taken_before_start"), ("4.00G", 2**32, "activations"),
    ):  # fmt: skip
        text = (
            f"{LOGGED}{asked.format(told, size)}\n".replace(": W ", ": I ") * 2
            + f"{refused}requested by op AddV2\n"
        )
        assert labkit.diagnose(text).cause == cause


def test_a_buffer_of_a_tpu_is_no_activations():
    said = "Attempting to {} 129.50M{}. That was not possible. There are 78.17M free.; (0x0x0_HBM0)"
    buffer = f"RESOURCE_EXHAUSTED: Error allocating device buffer: {said.format('allocate', '')}\n"
    assert labkit.diagnose(buffer).cause == "weights_or_optimizer"
    program = (
        f"RESOURCE_EXHAUSTED: Error loading program: {said.format('reserve', ' at the bottom of memory')}\n"
    )
    assert labkit.diagnose(program).cause == "activations"


def test_repeats_told_beside_an_error_make_growth_possible():
    error = "OOM when allocating tensor with shape[64,100,100,3] and type float"
    found = labkit.diagnose(f"{error}\nThis OOM error comes after several epochs of training.\n")
    assert found.cause == "growth" or any("growth" in said for said in found.evidence)
    told = labkit.diagnose(f"{error}\nI get this OOM error when I train for 100 epochs.\n")
    assert not any("growth" in said for said in told.evidence)


def test_a_file_that_is_locked_is_no_lack_of_threads():
    said = (
        "OSError: Unable to open file (unable to lock file, errno = 11, 'Resource temporarily unavailable')"
    )
    assert not any("threads" in sentence for sentence in labkit.diagnose(f"{said}\n").evidence)
    assert any("threads" in s for s in labkit.diagnose("fork: Resource temporarily unavailable\n").evidence)


def test_pinned_memory_is_no_tensor_that_half_a_batch_halves():
    found = labkit.diagnose("could not allocate pinned host memory of size: 34359738368\n")
    assert all(fix.saves is None for fix in found.fixes)
    assert not any("halves this tensor" in fix.sentence for fix in found.fixes)


@pytest.mark.parametrize("what", ["memory", "GPU memory", "RAM", "VRAM"])
@pytest.mark.parametrize(
    "said",
    [
        "{} ran out", "my {} has run out", "the {} runs out after a while", "it used up my {}",
        "the {} fills up", "I don't have enough {}", "I do not have enough {}", "there is no {} left",
        "the {} is all used up",
        "the model does not fit in {}", "it doesn't fit into my {}", "the batch is too large for my {}",
        "it needs more {} than I have", "filling up the whole {}",
    ],
)  # fmt: skip
def test_that_memory_ran_out_is_known_in_whatever_words_it_is_told(said, what):
    assert labkit.diagnose(f"Help! {said.format(what)}\n").cause in ("unknown", "host_memory")
    assert labkit.diagnose(f"Help! {said.format('patience')}\n").cause == "not_oom"


@pytest.mark.parametrize(
    "said",
    [
        "there is no memory leak", "it reads more memory than needed", "no memory limit was set",
        "it does fit into memory", "I have enough RAM", "a memory of 16 GB", "memory growth is on",
    ],
)  # fmt: skip
def test_not_whatever_speaks_of_memory_says_that_it_ran_out(said):
    assert labkit.diagnose(f"Well, {said}.\n").cause == "not_oom"


@pytest.mark.parametrize("before", ["训练时出现", "又是", "error: ", ""])
@pytest.mark.parametrize("name", ["OOM", "oom"])
@pytest.mark.parametrize("after", ["错误", "问题, batch 调小也不行", " again", "."])
def test_oom_is_a_word_among_characters_that_need_no_spaces(before, name, after):
    assert labkit.diagnose(f"{before}{name}{after}\n").cause == "unknown"
    assert labkit.diagnose(f"{before}zoomed{after}\n").cause == "not_oom"


@pytest.mark.parametrize(
    ("said", "cause"),
    [
        ("The memory (RAM) of my machine runs full when fit() is called.", "host_memory"),
        ("After a while my whole system runs out of memory.", "host_memory"),
        ("predict() eats up all my RAM, and it is killed by the OOM killer.", "host_memory"),
        ("The job was killed by OOM.", "host_memory"),
        ("ray.memory_monitor.RayOutOfMemoryError: More than 95% of the memory is used", "host_memory"),
        ("Resource exhausted: Failed to allocate memory for the batch of component 1", "host_memory"),
        ('It says "Unable to allocate 1.2 GiB" with half of it free.', "host_memory"),
        ('The GPU says "Unable to allocate 1.2 GiB" with half of it free.', "unknown"),
        ("on device CPU:0: `numpy.core.MemoryError: Unable to allocate 1.2 GiB`", "host_memory"),
        ("CUDA error: all CUDA-capable devices are busy or unavailable", "memory_taken_before_start"),
        ("cudaSetDevice() failed. Status: cudaErrorDevicesUnavailable", "memory_taken_before_start"),
        ("failed call to cuInit: CUDA_ERROR_DEVICE_UNAVAILABLE", "memory_taken_before_start"),
        ("Process finished with exit code 1073740791 (0xc0000409)", "host_memory"),
        ("My kernel keeps on dying.", "host_memory"),
        ("Each kernel kept dying", "host_memory"),
        ("It has memory leaks, and may fail due to OOM after some time.", "growth"),
        ("CUDA is out of memory in about 90 epochs, whatever I do.", "growth"),
        ("I can not free the GPU memory after each model, so the GPU gets out of memory.", "growth"),
        ("Failed to determine best cudnn convolution algorithm for:", "autotuning"),
    ],
)
def test_more_of_what_people_tell(said, cause):
    assert labkit.diagnose(f"Hello\n{said}\n").cause == cause


DEAD = "Kernel restarting: The kernel appears to have died. It will restart automatically.\n"


@pytest.mark.parametrize(
    "said",
    [
        "Could not locate cudnn64.dll. Please make sure it is in your library path!",
        "Could not load library libcudnn_ops.so.9. Error: libcudnn_ops.so.9: cannot open shared object file",
        "Could not load library cudnn_ops64_9.dll. Error code 126",
    ],
)
def test_a_kernel_that_dies_for_a_library_that_is_missing_ran_out_of_nothing(said):
    assert labkit.diagnose(DEAD).cause == "host_memory"
    found = labkit.diagnose(f"{DEAD}{said}\n")
    assert found.cause == "not_oom" and "library is missing" in str(found)


@pytest.mark.parametrize("function", ["device_put", "batched_device_put", "buffer_from_pyval", "_execute"])
def test_what_jax_is_refused_while_it_copies_an_array_is_no_compiled_step(function):
    frames = f'  File "jax/_src/dispatch.py", line 9, in {function}\n    return put(x, device)\n'
    error = "jaxlib.xla_extension.XlaRuntimeError: RESOURCE_EXHAUSTED: Out of memory while trying to allocate"
    found = labkit.diagnose(f"Traceback (most recent call last):\n{frames}{error} 402653184 bytes.\n")
    copies = function != "_execute"
    assert found.cause == ("array_copied_to_device" if copies else "activations")
    assert ("compiled step" in str(found)) != copies


@pytest.mark.parametrize("before", ["训练时出现", "電腦顯示", "エラーは", "학습중 "])
@pytest.mark.parametrize("after", ["错误", "，怎么办", "です", "오류"])
@pytest.mark.parametrize(
    ("said", "cause"),
    [
        ("CUDA out of memory", "activations"), ("MemoryError", "host_memory"), ("Killed", "host_memory"),
        ("memory error", "unknown"), ("GPU内存不足", "activations"), ("exit code 137", "host_memory"),
    ],
)  # fmt: skip
def test_words_are_found_among_characters_that_need_no_spaces(before, said, after, cause):
    said = f"`{said}`" if said == "Killed" else said
    assert labkit.diagnose(f"{before}{said}{after}\n").cause == cause
    assert labkit.diagnose(f"{before}CUDA{after}\n").cause == "not_oom"


@pytest.mark.parametrize("said", ["It stops (MemoryError) before", "(MemoryError)", "numpy(MemoryError: 3)"])
def test_a_memory_error_in_brackets_is_one(said):
    assert labkit.diagnose(f"Hello\n{said} the first step.\n").cause == "host_memory"
    for code in ("except(MemoryError):", "raise(MemoryError)", "isinstance(error, (OSError, MemoryError))"):
        assert labkit.diagnose(f"    152     {code}\n").cause == "not_oom"


RAN_OUT = [
    *("It runs out of my computer's memory", "I ran out of RAM again", "and here, it is running out of RAM"),
    *("all of the RAM has been consumed", "until the system has finally run out of memory"),
    *("I always run out of CPU RAM", "My kernel keeps restarting", "The kernel is restarting automatically"),
    *("Kernel Restarting Automatically", "the kernel restarts itself", "The kernel restarts while it loads"),
    *("It causes all my RAM to be consumed", "my notebook was shut down for a lack of memory"),
]
NOT_OF_THE_HOST = [
    *(
        "my GPU runs out of RAM",
        "the device ran out of RAM",
        "GPU RAM is full",
        "video RAM was exhausted",
    ),
    *("I have restarted the kernel", "restart the kernel first", "kernel restarts after an update"),
    *("I get memory errors with large images", "a notebook shut down due to a lack of GPU memory"),
    *("Error allocating memory when training on the GPU", "error while allocating GPU memory"),
]


@pytest.mark.parametrize("said", [*RAN_OUT, *NOT_OF_THE_HOST])
def test_whose_memory_ran_out_by_what_is_told(said):
    found = labkit.diagnose(f"Hello\n{said}.\nThanks\n")
    assert (found.cause == "host_memory") == (said in RAN_OUT)
    assert (found.cause == "not_oom") == ("kernel" in said and said in NOT_OF_THE_HOST)
    assert found.confidence != "certain" or found.cause == "not_oom"


@pytest.mark.parametrize(
    "said",
    [
        "in the middle of training",
        "each time when epoch 41 starts",
        "in epoch 7",
        "all is well till 30K steps",
    ],
)
def test_what_had_worked_until_a_point_that_is_told_may_grow(said):
    found = labkit.diagnose(f"Hello\nI get an OOM error, {said}. Why?\n")
    assert (found.cause, found.confidence) == ("growth", "a guess")
    for start in ("in epoch 1", "at the beginning of training", "with 30K steps"):
        assert labkit.diagnose(f"Hello\nI get an OOM error, {start}. Why?\n").cause == "unknown"


@pytest.mark.parametrize(
    ("said", "cause"),
    [
        ("predict() concatenates the outputs until it is OOM", "predict_output"),
        ("model.predict keeps all the predictions and runs out of memory", "predict_output"),
        ("It goes OOM: it wants memory for all my predictions at once", "predict_output"),
        ("the GPU is out of memory, as predict_on_batch stores its results there", "predict_output"),
        ("OOM, for fit() first copies the entire training data to the GPU", "array_copied_to_device"),
        ("It is out of memory: I put all images onto the device before", "array_copied_to_device"),
        ("OOM, and the data set is entirely loaded into the VRAM", "array_copied_to_device"),
        ("OOM when I move the whole model to the GPU", "unknown"),
        ("I get OOM in predict() when I load all classes", "unknown"),
        ("OOM, and the results of fit() are stored in a file", "unknown"),
        ("predict() collects the outputs in a list", "not_oom"),
    ],
)
def test_what_fills_the_memory_may_be_told(said, cause):
    found = labkit.diagnose(f"Hello\n{said}.\n")
    assert found.cause == cause
    assert found.confidence == "a guess" or cause == "not_oom"
