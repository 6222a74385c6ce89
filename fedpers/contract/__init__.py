"""What every algorithm must do, as checks that run on any of them: `python -m fedpers.check strategy=NAME`.

`checks` holds them, `play` runs the small federations that they look at, `watched` stands between an algorithm and the
simulator and notes what goes in and out.
"""
