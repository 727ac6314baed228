//! The program as a user runs it.

mod artefacts;
mod cases;
mod codesign;
mod commands;
mod damage;
mod deform;
mod detect;
mod head;
mod hostile;
mod interrupt;
mod memory;
mod pipes;
mod readme;
mod screens;
mod silent;
mod support;
mod third_party;
mod usage;
