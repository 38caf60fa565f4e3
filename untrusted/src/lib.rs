//! Takes in and shows what others wrote: an answer up to a bound, a text without characters that
//! deceive, an error with everything that caused it.

mod answer;
mod causes;
mod clean;

pub use answer::{ReadError, date, read_up_to, retry_after};
pub use causes::{causes, with_causes};
pub use clean::{MAX_SHOWN_CHARS, clean, clean_json, cut, is_deceptive, one_line};
