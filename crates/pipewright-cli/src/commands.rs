//! One file a subcommand.

pub(crate) mod limits;
pub(crate) mod ls;
pub(crate) mod manual;
pub(crate) mod resize;
pub(crate) mod run;
pub(crate) mod watch;

/// The columns of the terminal that is stdout; 80 where there is none.
fn columns_of_stdout() -> usize {
    let size = rustix::termios::tcgetwinsize(std::io::stdout());
    let columns = size.map_or(0, |size| usize::from(size.ws_col));
    if columns > 0 { columns } else { 80 }
}
