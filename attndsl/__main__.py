"""`python -m attndsl` is `attndsl`."""

from attndsl.cli.main import main

raise SystemExit(main())
