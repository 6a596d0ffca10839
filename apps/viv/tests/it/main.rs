//! `viv` as a person and a script meet it: the built program, in a home folder of its own, without any virtual machine.

mod console;
mod fake_supervisor;
mod help;
mod home;
mod inspect;
mod lifecycle;
mod machines;
mod narrow;
mod share;
