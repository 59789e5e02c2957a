//! The whole engine in one deterministic process, and an oracle that knows what it may answer.
//!
//! A [`plan::Plan`] (from a seed) says what is done to a [`world::World`] of simulated machines: nodes with disks, guests
//! that read and write, snapshots, clones, rollbacks, deaths, faults. The engine is the one that ships, down to the messages
//! between its threads; only `env` is another. [`model`] holds what every disk and snapshot may contain; after every
//! death and at the end everything is compared whole ([`life`], [`finish`]). [`run`] runs histories, [`shrink`] makes failing
//! ones shorter, [`mutants`] proves that bugs are found.
//!
//! What it does not show: the real kernel's behaviour (`env::real` has tests of its own, and real processes are killed
//! elsewhere), sockets and the ECS API, and anything about speed.

pub mod chain;
pub mod dice;
pub mod directed;
pub mod finish;
pub mod guest;
pub mod launcher;
pub mod life;
pub mod model;
pub mod mutants;
pub mod plan;
pub mod run;
pub mod shrink;
pub mod snaps;
pub mod steps;
pub mod world;
