//! Reads amounts of memory as Kubernetes writes them: `64Mi`, `1.5G`, `128974848`, `1e9`, `100m`.
//! Goes in: a JSON string or number; comes out: bytes, rounded up as the kubelet does.

use serde::{Deserialize, Deserializer};

/// The bytes that a resource quantity stands for; zero and what is no quantity are `None`.
pub(super) fn bytes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    let value = Option::<Quantity>::deserialize(deserializer)?;
    Ok(value
        .and_then(|quantity| match quantity {
            Quantity::Number(bytes) => Some(bytes),
            Quantity::Text(text) => parse(&text),
            Quantity::Other(_) => None,
        })
        .filter(|bytes| *bytes > 0))
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Quantity {
    Number(u64),
    Text(String),
    Other(serde::de::IgnoredAny),
}

fn parse(text: &str) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, suffix) = text.split_at(digits);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let mantissa: u128 = format!("{whole}{fraction}").parse().ok()?;
    let (multiplier, divisor) = scale(suffix)?;
    let divisor = 10_u128.checked_pow(u32::try_from(fraction.len()).ok()?)?.checked_mul(divisor)?;
    u64::try_from(mantissa.checked_mul(multiplier)?.div_ceil(divisor)).ok()
}

/// What a suffix multiplies by and divides by.
fn scale(suffix: &str) -> Option<(u128, u128)> {
    const UNITS: &str = "KMGTPE";
    if let Some(unit) = suffix.strip_suffix('i') {
        let power = UNITS.find(unit).filter(|_| unit.len() == 1)?;
        return Some((1024_u128.pow(u32::try_from(power).ok()? + 1), 1));
    }
    match suffix {
        "" => Some((1, 1)),
        "m" => Some((1, 1_000)),
        "u" => Some((1, 1_000_000)),
        "n" => Some((1, 1_000_000_000)),
        "k" => Some((1_000, 1)),
        _ if suffix.len() == 1 => {
            let power = UNITS.find(suffix)?;
            Some((1_000_u128.pow(u32::try_from(power).ok()? + 1), 1))
        }
        _ => {
            let exponent: i32 = suffix.strip_prefix(['e', 'E'])?.parse().ok()?;
            let power = 10_u128.checked_pow(exponent.unsigned_abs())?;
            Some(if exponent < 0 { (1, power) } else { (power, 1) })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::parse;

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
            assert_eq!(parse(text), Some(bytes), "{text}");
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
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
