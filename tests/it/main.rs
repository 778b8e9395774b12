//! Black-box tests: the real binary over real sockets and pipes.
