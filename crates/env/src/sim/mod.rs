//! A simulated machine: one seed is one history.
