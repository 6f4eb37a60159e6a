"""What the commands share: `command` parses, `console` prints, `options`, `pricing`."""
