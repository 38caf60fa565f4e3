//! How findings advise on limits: the key `advice`.

use finding::{AdvicePolicy, parse_quantity};
use serde_json::Value;
use settings::{ConfigSection, quote};

/// Reads `advice`. What is missing has the default of the Vertical Pod Autoscaler.
pub(super) fn read(section: &mut ConfigSection<'_>) -> AdvicePolicy {
    AdvicePolicy { bump_up_thousandths: ratio(section), min_bump_up_bytes: amount(section) }
}

/// Returns the ratio in thousandths.
fn ratio(section: &mut ConfigSection<'_>) -> u64 {
    const EXPECTED: &str = "a number from 1 to 10, such as 1.2";
    let written: f64 = section.get_or("bump_up_ratio", 1.2, EXPECTED);
    // As a quantity, `1.2k` is 1200.
    let thousandths = parse_quantity(&format!("{written}k")).filter(|ratio| (1000..=10_000).contains(ratio));
    thousandths.unwrap_or_else(|| {
        section.error("bump_up_ratio", format!("is {written}"), EXPECTED);
        1200
    })
}

/// Returns the amount in bytes.
fn amount(section: &mut ConfigSection<'_>) -> u64 {
    const EXPECTED: &str = "an amount of memory such as 100Mi or 1Gi";
    let written: Value = section.get_or("min_bump_up", "100Mi".into(), EXPECTED);
    let (amount, shown) = match &written {
        Value::String(text) => (parse_quantity(text), quote(text)),
        Value::Number(number) => (number.as_u64(), number.to_string()),
        _ => (None, "no amount".to_owned()),
    };
    amount.unwrap_or_else(|| {
        section.error("min_bump_up", format!("is {shown}"), EXPECTED);
        0
    })
}
