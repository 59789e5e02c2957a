//! The web console at `/console`: pages and forms for people, over the same actions as the API.
//!
//! Pages are made here, whole, and work without a script: every dialog is a page of its own with a plain form, and a form
//! is an ECS request whose fields have the parameters' own names. One script makes that quicker (dialogs over the page,
//! filters without a reload, pages that follow what happens); it decides nothing.
//!
//! A request passes, in this order: where it comes from (a form of another site is refused), its session, the session's
//! token in every form, and then what any API request passes: flow control (of forms, not of pages), the action's own `parse`, the
//! caller's permissions, the action. What must stay true: (1) nothing is shown or done that the API would refuse to the same caller, and what it
//! would refuse is not offered; who may what is asked anew for every request, so a key that is taken away ends its sessions;
//! (2) every text is escaped where it is written (`maud` does), and no page has a script or style of its own: the content
//! security policy allows none; (3) no secret is in a page, but for a new key's, once; (4) what a form began runs to its
//! end when the browser goes away.
//!
//! Not here: what the actions do and who may (`control`), their parameters (`ecs`), connections and their bounds (`api`).

mod acts;
mod afterwards;
mod ask;
mod assets;
mod command;
mod dialogs;
mod fields;
mod forms;
mod http;
mod layout;
mod limiter;
mod live;
mod pages;
mod parts;
mod pictures;
mod serve;
mod session;
mod sign_in;
mod state;
mod text;

pub use serve::router;
pub use state::ConsoleState;
