//! Contracts of the outside world's traits, as suites that every implementation must pass.
//!
//! A suite knows nothing of what is behind the trait; what differs between worlds (how long a name may
//! be, how much time a large object takes) is an argument. It panics where the contract is broken.

pub mod bucket;
