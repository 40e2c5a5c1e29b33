"""cvm-store-check finds what is wrong with a store: each mistake in the example's is told by the test that is about
it, and by none that isn't."""
import os
import re
import subprocess

import pytest

BUILD = os.environ["CVM_BUILD_DIR"]
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
CHECK = f"{BUILD}/cvm-store-check"
SOURCE = open(f"{ROOT}/examples/store_module/memory.c", encoding="utf-8").read()

# What is changed into what, and the test that fails by it.
MISTAKES = {
    "swaps blindly": (
        "(has_device && !is_as_read(store, change)) || ", "",
        "a swap wants the record as it was read"),
    "a revision that stays": (
        "host->number(change->as_read, CVM_D_REVISION) + 1", "host->number(change->as_read, CVM_D_REVISION)",
        "a swap that changes nothing is a write"),
    "revisions that begin with 1": (
        "put_device(store, change->wanted,", "put_device(store, change->wanted, !change->as_read ? 1 :",
        "what begins anew is not what it was"),
    "a second current certificate": (
        "for (uint32_t i = 1; i <= count; i++) if (is_second_current", "for (uint32_t i = 1; i < 1; i++) if (is_second_current",
        "a device has one current"),
    "an order that is not looked at": (
        "if (is_text(store, written[i], ID, id) && is_writable", "if (0 && is_text(store, written[i], ID, id) && is_writable",
        "a device never has two current"),
    "a reason that is forgotten": (
        "keeps_reason && host->set_text", "0 && host->set_text", "a reason stays once it retires"),
    "a revision that comes again": (
        "store->last += INT64_C(1) << 32", "++store->last", "what begins anew is not what it became"),
    "a revocation that is taken back": (
        '!is_text(store, row->record, CVM_C_STATE, "revoked") &&', "", "nothing is ever unrevoked"),
    "another device's certificate": (
        "is_text(store, row->record, CVM_C_DEVICE_UID, host->text(certificate, CVM_C_DEVICE_UID)));", "1);",
        "another device's row stays as it is"),
    "a PEM that is replaced": (
        "copy && row && (host->set_text", "0 && row && (host->set_text", "one is updated by its id"),
    "half a change": (
        "if ((has_device && !is_as_read(store, change)) || has_two_current(store, change->certificates, change->certificate_count))",
        "if (has_device && !is_as_read(store, change))\n        return CVM_ANSWER_CONFLICT;\n"
        "    if (has_device && change->wanted && !change->as_read)\n"
        "        (void)write_device(store, change);\n"
        "    if (has_two_current(store, change->certificates, change->certificate_count))",
        "a change that can not be spoils no other"),
    "the oldest first": (
        "for (int is_revoked = 0; is_revoked <= 1; is_revoked++)", "for (int is_revoked = 1; is_revoked >= 0; is_revoked--)",
        "what is not revoked comes first"),
    "a page too large": ("if (!limit--)", "if (!limit)", "devices come in pages"),
    "a page that begins too late": (
        "row->number <= after ||", "row->number <= after + (after != 0) ||", "devices come in pages"),
    "a scan with the PEM": (
        "what == CVM_SCAN_CERTIFICATES)", "1)", "what is due is found when it is due"),
    "a lease that is forgotten": (
        "*host->text(record, CVM_D_LEASE_CERTIFICATE_ID)", "0", "leases that ended are found"),
    "a certificate that has ended": (
        "is_due || strcmp(state, \"revoked\") == 0) &&\n               host->number(record, CVM_C_NOT_AFTER) > before_ms",
        "is_due || strcmp(state, \"revoked\") == 0)", "what a CRL lists is found"),
    "a version that comes again": (
        "++store->last);\n    else if (*link)\n        take_out", "version + 1);\n    else if (*link)\n        take_out",
        "one is removed by its version"),
    "a token that is always replaced": (
        "flags & CVM_LOAD_REPLACE_TOKENS", "1", "each row is told what became of it"),
    "a load without certificates": (
        "i < loading->certificate_count", "i < 0", "what is loaded whole is kept whole"),
}

# What no test is about: the host sees it.
VIOLATIONS = {
    "completes twice": (
        "store->host->complete(op, change_rows(store, change), NULL);",
        "cvm_answer_t answer = change_rows(store, change);\n    store->host->complete(op, answer, NULL);\n"
        "    store->host->complete(op, answer, NULL);",
        "swap: the store completes it twice"),
    "an answer that the verb has not": (
        ": CVM_ANSWER_NOT_FOUND,\n        NULL", ": CVM_ANSWER_KEY_IN_USE,\n        NULL", "get may not answer KEY_IN_USE"),
    "a record that it forgets": (
        "struct store *store = self;\n    const struct row *row = *find(store, CVM_RECORD_DEVICE, device_uid);",
        "struct store *store = self;\n    const struct row *row = *find(store, CVM_RECORD_DEVICE, device_uid);\n"
        "    (void)store->host->record_new(CVM_RECORD_DEVICE);",
        "records of its own"),
    "frees what it was handed": (
        "struct store *store = self;\n    store->host->complete(op, change_rows(store, change), NULL);",
        "struct store *store = self;\n    store->host->complete(op, change_rows(store, change), NULL);\n"
        "    store->host->record_free((cvm_record_t *)change->wanted);",
        "frees a record that is not its own"),
    "never completes": (
        "store->host->complete(op, change_rows(store, change), NULL);", "(void)change_rows(store, change);\n    (void)op;",
        "it took too long"),
    "crashes": (
        "store->host->complete(op, change_rows(store, change), NULL);", "abort();",
        "it was ended by signal"),
}


def build(folder, old, new):
    pattern = r"\s+".join(map(re.escape, old.split()))  # lines may be broken otherwise
    source, count = re.subn(pattern, lambda _: new, SOURCE)
    assert count >= 1, old
    (folder / "memory.c").write_text(source)
    subprocess.run(["cc", "-std=c11", "-shared", "-fPIC", f"-I{ROOT}/include", "memory.c", "-o", "memory.so"],
                   cwd=folder, check=True)
    return folder / "memory.so"


def check(module, *options):
    done = subprocess.run([CHECK, "--module", module, "--store", "memory:", "--reset", "true", *options],
                          capture_output=True, text=True, timeout=120, check=False)
    return done.returncode, done.stdout + done.stderr


def failed(output):
    return re.findall(r"^not ok \d+ - \w+: (.*)$", output, re.M)


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_told_by_the_test_that_is_about_it(tmp_path, mistake):
    old, new, name = MISTAKES[mistake]
    code, output = check(build(tmp_path, old, new), "--timeout", "5")
    assert code == 1
    assert name in failed(output), output
    assert len(failed(output)) <= 12, output


@pytest.mark.parametrize("violation", VIOLATIONS)
def test_what_a_store_may_not_do_ends_the_test(tmp_path, violation):
    old, new, text = VIOLATIONS[violation]
    code, output = check(build(tmp_path, old, new), "--timeout", "1", "--only", "the second insert")
    if code == 0:
        code, output = check(build(tmp_path, old, new), "--timeout", "1", "--only", "unknown device")
    assert code == 1
    assert text in output


def test_only_what_is_asked_for_is_run(tmp_path):
    module = build(tmp_path, "memory:", "memory:")
    code, output = check(module, "--only", "values:")
    assert code == 0
    assert output.startswith("TAP version 14\n") and output.endswith("1..5\n")
    assert check(module, "--only", "no such thing")[0] == 1
    listed = subprocess.run([CHECK, "--list"], capture_output=True, text=True, check=True).stdout
    assert len(listed.splitlines()) > 60 and "values: the largest is kept\n" in listed


@pytest.mark.parametrize("arguments, code, text", [
    ([], 64, "--module, --store and --reset are needed"),
    (["--module", "{module}", "--store", "memory:", "--reset", "true", "--set", "nonsense"], 64, "--set takes NAME=VALUE"),
    (["--module", "{module}", "--store", "memory:", "--reset", "true", "--set", "no.such=1"], 78, "there is no property no.such"),
    (["--module", "{module}", "--store", "other:", "--reset", "true"], 78, "has no store 'other'; it has: memory"),
    (["--module", "/no/such.so", "--store", "memory:", "--reset", "true"], 78, "/no/such.so"),
    (["--module", "{libc}", "--store", "memory:", "--reset", "true"], 78, "it exports no cvm_module"),
    (["--module", "{module}", "--store", "memory:", "--reset", "false"], 1, "the reset command failed: false"),
    (["--help"], 0, "usage: cvm-store-check"),
    (["--version"], 0, "cvm-store-check 0."),
])
def test_what_it_is_asked_wrongly_it_says(tmp_path, arguments, code, text):
    module = build(tmp_path, "memory:", "memory:")
    done = subprocess.run([CHECK, *[a.format(module=module, libc="libc.so.6") for a in arguments]],
                          capture_output=True, text=True, check=False)
    assert done.returncode == code
    assert text in done.stdout + done.stderr


def test_a_log_is_told_when_a_test_fails(tmp_path):
    old = "store->last = host->now_ms(context);"
    module = build(tmp_path, old, old + ' host->log(context, CVM_LEVEL_INFO, "begun\\n");'.replace("\\n", ""))
    assert "begun" not in check(module, "--only", "the second insert")[1]
    with open(tmp_path / "memory.c", encoding="utf-8") as source:
        text = re.sub(r"\(has_device && !is_as_read\(store, change\)\)\s*\|\|", "", source.read())
    (tmp_path / "memory.c").write_text(text)
    subprocess.run(["cc", "-std=c11", "-shared", "-fPIC", f"-I{ROOT}/include", "memory.c", "-o", "memory.so"],
                   cwd=tmp_path, check=True)
    assert "# its log says:\n# begun\n" in check(module, "--only", "the second insert")[1]
