//! Draws the kills of a day as bars.

use std::fmt::Write;

use maud::{Markup, html};

/// The height of the plot, in its own units. A quarter of an hour is three wide.
const HEIGHT: u32 = 40;

/// Returns a bar for each quarter of an hour that has kills, relative to the one that has most.
pub(super) fn plot(kills_by_quarter: &[u16; 96]) -> Markup {
    let most = kills_by_quarter.iter().copied().max().unwrap_or_default().max(1);
    let mut bars = String::new();
    for (x, kills) in (0..).step_by(3).zip(kills_by_quarter) {
        if *kills > 0 {
            // A bar that can be seen, however many kills others stand for.
            let height = (HEIGHT * u32::from(*kills) / u32::from(most)).max(3);
            let x: u32 = x;
            // Memory takes all that is written to it.
            write!(bars, "M{x} {HEIGHT}v-{height}h2.5v{height}z").unwrap_or_default();
        }
    }
    let most = if most == 1 { "1 kill".to_owned() } else { format!("{most} kills") };
    html! {
        svg viewBox={ "0 0 288 " (HEIGHT) } preserveAspectRatio="none" role="img"
            aria-label={ "Kills over the last 24 hours, at most " (most) " in a quarter of an hour" } {
            path class="grid" d="M0 40H288M72 0V40M144 0V40M216 0V40" fill="none" {}
            path class="bars" d=(bars) {}
        }
        p class="axis" aria-hidden="true" { span { "24 h ago" } span { "12 h" } span { "now" } }
    }
}
