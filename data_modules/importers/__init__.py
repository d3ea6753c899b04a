"""Trajectories in other people's formats, one module a format; `registry` lists them."""
