"""Prints how many tests of a JUnit file passed, failed and were skipped, and the names of those that failed."""
import sys
import xml.etree.ElementTree as ET

cases = list(ET.parse(sys.argv[1]).iter("testcase"))
skipped = [case for case in cases if case.find("skipped") is not None]
bad = [case for case in cases
       if case.find("failure") is not None or case.find("error") is not None
       or case.get("status") in ("fail", "disabled", "notrun")]
print(len(cases) - len(bad) - len(skipped), len(bad), len(skipped),
      " ".join(case.get("name", "?") for case in bad))
