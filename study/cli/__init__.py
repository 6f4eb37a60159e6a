"""Shared by all commands: `command` parses, `console` prints, `options`, `pricing`."""
