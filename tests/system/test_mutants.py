"""Builds with a mistake in what keeps a promise among many servers: the tests that are about it must fail with it. In the
long run alone, since each is a build of its own."""

import pathlib
import shutil
import subprocess

import pytest

from cvm_server import scale

ROOT = pathlib.Path(__file__).parents[2]
LINK, CHANGE = "src/backends/postgresql/link.c", "src/backends/postgresql/change.c"

# What is replaced by what, in which file; and the program and its test that must fail.
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
}


def build(folder, replacements):
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
                    ["cmake", "--build", "build"]):
        subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)


@pytest.mark.parametrize("mistake", MUTANTS)
def test_what_is_replaced_is_there(mistake):
    for name, old, _ in MUTANTS[mistake][0]:
        assert (ROOT / name).read_text().count(old) == 1, (name, old)


@pytest.mark.skipif(scale() == 1, reason="four builds; scripts/test --long")
@pytest.mark.parametrize("mistake", MUTANTS)
def test_a_mistake_is_found(tmp_path, mistake):
    replacements, program, finder = MUTANTS[mistake]
    build(tmp_path, replacements)
    done = subprocess.run([tmp_path / "build/tests/contract" / program], capture_output=True, text=True, timeout=600, check=False)
    failed = [line for line in (done.stdout + done.stderr).splitlines() if "FAILED" in line]
    assert any(finder in line for line in failed), failed
