//! A disk: log, index, base, checkpoint, marks, tracking, hydration.
