"""Builds with a mistake in what keeps a promise among many servers, or with AWS: the tests that are about it must fail with it. In
the long run alone, since each is a build of its own."""

import os
import pathlib
import shutil
import subprocess
import sys

import pytest

from cvm_server import scale

ROOT = pathlib.Path(__file__).parents[2]
LINK, CHANGE = "src/backends/postgresql/link.c", "src/backends/postgresql/change.c"

# What is replaced by what, in which file; and the program, or the system tests' file, and its test that must fail.
MUTANTS = {
    "it acknowledges on the result, not on the commit": (
        [(LINK, "if (link->has_failed)\n        link_fail_batch(link);",
          "if (link->has_failed && !link->first->result_count)\n        link_fail_batch(link);")],
        "test_postgresql", "a_commit_that_fails_is_none"),
    "it settles doubt by a read": (
        [(LINK, "if (job->is_in_doubt && !link->fences)", "if (0 && job->is_in_doubt && !link->fences)"),
         (CHANGE, "if (is_changed)\n", "if (is_changed || (job->is_in_doubt && is_allowed))\n"),
         ("src/backends/postgresql/statements.c",
          '" ON CONFLICT (device_uid) DO UPDATE SET change_id = excluded.change_id"\n'
          '        " WHERE d.change_id = excluded.change_id RETURNING 1),"', '" ON CONFLICT (device_uid) DO NOTHING RETURNING 1),"')],
        "test_postgresql", "a_commit_that_no_standby_has_is_none"),
    "it has no fence": (
        [(LINK, "if (job->is_in_doubt && !link->fences)", "if (0 && job->is_in_doubt && !link->fences)")],
        "test_postgresql", "a_removal_that_no_standby_has_is_none"),
    "it scans before it reads the heads' version": (
        [("src/backends/local/publish.c", "} else if (is_comparing) {", "} else if (is_comparing && 0) {")],
        "test_publication", "what_was_found_before_another_crl_is_not_signed_after_it"),
    "AWS IoT's certificates are active before they are recorded": (
        [("src/backends/aws_iot/certificates.c", '"setAsActive=false"', '"setAsActive=true"')],
        "test_faults_aws_iot.py", "test_killed_before_and_behind_each_effect"),
    "a certificate is asked for on a connection that was kept": (
        [("src/backends/aws/client.c", ".is_fresh = call->is_unsafe}", ".is_fresh = 0}")],
        "test_faults_aws_iot.py", "test_each_call_of_a_registration"),
    "who lost the lease goes on": (
        [("src/backends/dynamodb/plan.c", "if (is_device)\n        cvm_dynamo_state_is(", "if (0)\n        cvm_dynamo_state_is("),
         ("src/backends/dynamodb/plan.c", "    cvm_dynamo_row_is(", "    if (0)\n        cvm_dynamo_row_is(")],
        "test_faults_aws_iot.py", "test_stopped_until_the_lease_is_anothers"),
    "all who claim a device have it": (
        [("src/backends/dynamodb/change.c", "is_conflict |= has_failed && is_device", "is_conflict |= 0 && has_failed && is_device"),
         ("src/backends/dynamodb/change.c", "    else if (is_stale)\n        change_look_again(change);",
          "    else if (is_stale)\n        cvm_dynamo_end(&change->job, CVM_ANSWER_OK, NULL);")],
        "test_faults_dynamodb.py", "test_of_many_writers_one_wins"),
    "a transaction that is sent again is another one": (
        [("src/backends/dynamodb/plan.c", '"{\\"ClientRequestToken\\":\\"%s\\",\\"TransactItems\\":["', '"{\\"TransactItems\\":[%.0s"')],
        "test_faults_dynamodb.py", "test_a_write_whose_answer_was_lost_is_known_again"),
}


def build(folder, replacements, targets):
    files = subprocess.run(["git", "ls-files"], cwd=ROOT, check=True, capture_output=True, text=True).stdout.split()
    for name in files:
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, target)
    (folder / "third_party").symlink_to(ROOT / "third_party")
    for name, old, new in replacements:
        path = folder / name
        path.write_text(path.read_text().replace(old, new))
    for command in (["cmake", "-S", ".", "-B", "build", "-G", "Ninja", "-DCMAKE_BUILD_TYPE=RelWithDebInfo", "-DCVM_TESTS=ON"],
                    ["cmake", "--build", "build", *targets]):
        subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)


@pytest.mark.parametrize("mistake", MUTANTS)
def test_what_is_replaced_is_there(mistake):
    for name, old, _ in MUTANTS[mistake][0]:
        assert (ROOT / name).read_text().count(old) == 1, (name, old)


@pytest.mark.skipif(scale() == 1, reason="a build each; scripts/test --long")
@pytest.mark.parametrize("mistake", MUTANTS)
def test_a_mistake_is_found(tmp_path, mistake):
    replacements, program, finder = MUTANTS[mistake]
    if program.endswith(".py"):
        build(tmp_path, replacements, ["--target", "cvm", "cvm_aws"])
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"{ROOT}/tests/system/{program}", "-k", finder]
    else:
        build(tmp_path, replacements, ["--target", program])
        command = [tmp_path / "build/tests/contract" / program]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False,
                          env={**os.environ, "CVM_BUILD_DIR": str(tmp_path / "build"), "CVM_TEST_SCALE": "1"})
    failed = [line for line in (done.stdout + done.stderr).splitlines() if "FAILED" in line]
    assert any(finder in line for line in failed), failed
