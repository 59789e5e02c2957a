//! A front end of our own, with rings that it fills by hand, against a back end over a disk in memory.

mod back_end;
mod front_end;
mod hostile;
mod in_flight;
mod machine;
mod requests;
