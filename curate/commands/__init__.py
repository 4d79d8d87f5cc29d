"""Commands: what a user types, a function each; they call the library and show what it gives."""
