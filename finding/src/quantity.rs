//! Reads and writes amounts of memory as Kubernetes does: `64Mi`, `1.5G`, `128974848`, `1e9`, `100m`.

use crate::memory::UNITS;

/// Returns the bytes that a quantity stands for, rounded up as the kubelet does; `None` if it is none.
pub fn parse_quantity(text: &str) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, suffix) = text.split_at(digits);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let mantissa: u128 =
        if fraction.is_empty() { whole.parse() } else { format!("{whole}{fraction}").parse() }.ok()?;
    let (multiplier, divisor) = scale(suffix)?;
    let divisor = 10_u128.checked_pow(u32::try_from(fraction.len()).ok()?)?.checked_mul(divisor)?;
    u64::try_from(mantissa.checked_mul(multiplier)?.div_ceil(divisor)).ok()
}

/// What a suffix multiplies by and divides by.
fn scale(suffix: &str) -> Option<(u128, u128)> {
    if let Some(unit) = suffix.strip_suffix('i') {
        return Some((1024_u128.pow(power(unit)?), 1));
    }
    match suffix {
        "" => Some((1, 1)),
        "m" => Some((1, 1_000)),
        "u" => Some((1, 1_000_000)),
        "n" => Some((1, 1_000_000_000)),
        "k" => Some((1_000, 1)),
        _ if suffix.len() == 1 => Some((1_000_u128.pow(power(suffix)?), 1)),
        _ => {
            let exponent: i32 = suffix.strip_prefix(['e', 'E'])?.parse().ok()?;
            let power = 10_u128.checked_pow(exponent.unsigned_abs())?;
            Some(if exponent < 0 { (1, power) } else { (power, 1) })
        }
    }
}

/// What power of a thousand, or of 1024, a unit stands for.
fn power(unit: &str) -> Option<u32> {
    let place = ["K", "M", "G", "T", "P", "E"].iter().position(|known| *known == unit)?;
    u32::try_from(place + 1).ok()
}

/// Returns the amount as Kubernetes reads it, in the largest unit in which it is whole: `128Mi`.
pub(crate) fn quantity(bytes: u64) -> String {
    let unit = UNITS.iter().find(|(size, _)| bytes >= *size && bytes.is_multiple_of(*size));
    unit.map_or_else(|| bytes.to_string(), |(size, unit)| format!("{}{unit}", bytes / size))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_to_write_an_amount_is_read() {
        for (text, bytes) in [
            ("64Mi", 64 << 20),
            ("1Gi", 1 << 30),
            ("1.5Gi", 3 << 29),
            ("128974848", 128_974_848),
            ("129e6", 129_000_000),
            ("1E3", 1_000),
            ("12E", 12_000_000_000_000_000_000),
            ("129M", 129_000_000),
            ("2k", 2_000),
            ("128974848000m", 128_974_848),
            ("1m", 1),
            (".5Ki", 512),
        ] {
            assert_eq!(parse_quantity(text), Some(bytes), "{text}");
        }
    }

    #[test]
    fn what_is_no_amount_is_unknown() {
        for text in [
            "",
            "Mi",
            "lots",
            "-1",
            "1Xi",
            "1MiB",
            "1e999",
            "1KM",
            "99999999999999999999999999999999999999999",
        ] {
            assert_eq!(parse_quantity(text), None, "{text}");
        }
    }

    #[test]
    fn what_is_written_is_exact() {
        for (amount, written) in
            [(1000, "1000"), (1536, "1536"), (128 << 20, "128Mi"), (1280 << 20, "1280Mi"), (10 << 30, "10Gi")]
        {
            assert_eq!(quantity(amount), written);
            assert_eq!(parse_quantity(written), Some(amount));
        }
    }
}
