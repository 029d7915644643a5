//! The live page in a browser: it shows what the server says, asks nobody else, and finds no fault with itself.
