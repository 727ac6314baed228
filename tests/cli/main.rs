//! The program as a user runs it.

mod artefacts;
mod codesign;
mod commands;
mod damage;
mod deform;
mod detect;
mod head;
mod interrupt;
mod pipes;
mod screens;
mod support;
mod third_party;
mod usage;
