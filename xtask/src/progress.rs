//! Progress on stderr: a bar on a terminal, plain lines elsewhere.

use std::io::IsTerminal as _;
use std::time::Duration;

use hub::{Event, Observer};
use indicatif::{ProgressBar, ProgressStyle};

pub(crate) use hub::bytes;

/// Follows the transfer or task `label`, measured in bytes.
pub(crate) fn observe(label: &str) -> Observer {
    let mut lines = hub::lines(label);
    if !std::io::stderr().is_terminal() {
        return lines;
    }
    let bar = ProgressBar::no_length().with_message(label.to_string());
    Box::new(move |event| match event {
        Event::Start { total, here } => {
            let template = match total {
                Some(_) => "{msg:<28.28} [{bar:20}] {bytes:>10}/{total_bytes:<10} {eta:>4}",
                None => "{msg:<28.28} {spinner} {bytes:>10}",
            };
            if let Ok(style) = ProgressStyle::with_template(template) {
                bar.set_style(style.progress_chars("=> "));
            }
            bar.set_length(total.unwrap_or(0));
            bar.set_position(here);
            bar.reset_eta();
            bar.enable_steady_tick(Duration::from_millis(200));
        }
        Event::At(done) => bar.set_position(done),
        Event::Note(_) => bar.suspend(|| lines(event)),
        Event::Done => {
            bar.finish_and_clear();
            // Only the last line: the bar showed the rest.
            lines(Event::At(bar.position()));
            lines(event);
        }
    })
}
