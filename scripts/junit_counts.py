"""Prints how many tests of a JUnit file passed and failed, and the names of those that failed."""
import sys
import xml.etree.ElementTree as ET

cases = list(ET.parse(sys.argv[1]).iter("testcase"))
bad = [case for case in cases
       if any(case.find(kind) is not None for kind in ("failure", "error", "skipped"))
       or case.get("status") in ("fail", "disabled", "notrun")]
print(len(cases) - len(bad), len(bad), " ".join(case.get("name", "?") for case in bad))
