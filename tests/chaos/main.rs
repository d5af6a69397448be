//! What machines do to the system for real: `kill -9` of any role at any moment, full disks, permissions taken away.
//!
//! The simulation does all of that over thousands of seeds, in virtual time and with its own disk. Here are the
//! operating system's processes, sockets and files, and only what operators have: the HTTP API and `tenantryd`.

mod disk;
mod kills;
mod load;
mod verdict;
