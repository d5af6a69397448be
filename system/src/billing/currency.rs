//! Currencies: ISO 4217, list one, as of January 2026, with the digits of their minor units.
//!
//! Only money that a customer can be billed in: no precious metals, no funds codes and units of account (`CHW`, `CLF`,
//! `XDR`, ...), neither `XTS` for tests nor `XXX` for none. Withdrawn currencies are not on the list (`BGN` since 2026, `HRK`
//! since 2023): credit in them could not be paid out.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Codes in order, by how many digits their minor unit has.
const LIST_ONE: [(u32, &[&str]); 3] = [
    (
        0,
        &[
            "BIF", "CLP", "DJF", "GNF", "ISK", "JPY", "KMF", "KRW", "PYG", "RWF", "UGX", "VND", "VUV", "XAF", "XOF",
            "XPF",
        ],
    ),
    (
        2,
        &[
            "AED", "AFN", "ALL", "AMD", "AOA", "ARS", "AUD", "AWG", "AZN", "BAM", "BBD", "BDT", "BMD", "BND", "BOB",
            "BRL", "BSD", "BTN", "BWP", "BYN", "BZD", "CAD", "CDF", "CHF", "CNY", "COP", "CRC", "CUP", "CVE", "CZK",
            "DKK", "DOP", "DZD", "EGP", "ERN", "ETB", "EUR", "FJD", "FKP", "GBP", "GEL", "GHS", "GIP", "GMD", "GTQ",
            "GYD", "HKD", "HNL", "HTG", "HUF", "IDR", "ILS", "INR", "IRR", "JMD", "KES", "KGS", "KHR", "KPW", "KYD",
            "KZT", "LAK", "LBP", "LKR", "LRD", "LSL", "MAD", "MDL", "MGA", "MKD", "MMK", "MNT", "MOP", "MRU", "MUR",
            "MVR", "MWK", "MXN", "MYR", "MZN", "NAD", "NGN", "NIO", "NOK", "NPR", "NZD", "PAB", "PEN", "PGK", "PHP",
            "PKR", "PLN", "QAR", "RON", "RSD", "RUB", "SAR", "SBD", "SCR", "SDG", "SEK", "SGD", "SHP", "SLE", "SOS",
            "SRD", "SSP", "STN", "SVC", "SYP", "SZL", "THB", "TJS", "TMT", "TOP", "TRY", "TTD", "TWD", "TZS", "UAH",
            "USD", "UYU", "UZS", "VED", "VES", "WST", "XCD", "XCG", "YER", "ZAR", "ZMW", "ZWG",
        ],
    ),
    (3, &["BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"]),
];

/// A currency of the list.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Currency {
    code: &'static str,
    minor_digits: u32,
}

impl Currency {
    /// Takes a code of the list.
    ///
    /// # Errors
    /// Says what would be right.
    pub fn parse(text: &str) -> Result<Self, String> {
        for (minor_digits, codes) in LIST_ONE {
            if let Ok(index) = codes.binary_search(&text) {
                return Ok(Self { code: codes[index], minor_digits });
            }
        }
        let letters = text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_uppercase());
        Err(match letters {
            true => format!("is {text}, which is no currency of ISO 4217 that can be billed in; one is such as EUR"),
            false => "must be an ISO 4217 code of three capital letters such as EUR".into(),
        })
    }

    /// Every currency.
    pub fn all() -> impl Iterator<Item = Self> {
        let of = |(minor_digits, codes): (u32, &'static [&'static str])| {
            codes.iter().map(move |code| Self { code, minor_digits })
        };
        LIST_ONE.into_iter().flat_map(of)
    }

    /// The code as text.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        self.code
    }

    /// An amount in minor units, for people: `12.34 EUR`, `1234 JPY`.
    #[must_use]
    pub fn show(&self, amount_minor: u64) -> String {
        let unit = 10u64.pow(self.minor_digits);
        match self.minor_digits {
            0 => format!("{amount_minor} {self}"),
            digits => format!("{}.{:02$} {self}", amount_minor / unit, amount_minor % unit, digits as usize),
        }
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code)
    }
}

impl fmt::Debug for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code)
    }
}

impl Serialize for Currency {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.code)
    }
}

impl<'de> Deserialize<'de> for Currency {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for Currency {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Currency".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let mut codes: Vec<_> = Self::all().map(|currency| currency.code).collect();
        codes.sort_unstable();
        json_schema!({"type": "string", "enum": codes})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_of_the_list_is_found_and_stands_there_once_in_order() {
        let mut codes: Vec<_> = Currency::all().map(|currency| currency.as_str()).collect();
        for code in &codes {
            assert_eq!(Currency::parse(code).map(|found| found.as_str()), Ok(*code));
        }
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), 155);
        assert!(LIST_ONE.iter().all(|(_, codes)| codes.is_sorted()));
    }

    #[test]
    fn what_is_no_money_or_no_code_is_refused_in_words() {
        for code in ["XXX", "XTS", "XAU", "XDR", "CLF", "BGN", "EUX"] {
            assert!(Currency::parse(code).unwrap_err().contains("no currency of ISO 4217"), "{code}");
        }
        for text in ["", "eur", "EURO", "EU", "E\u{20ac}"] {
            assert!(Currency::parse(text).unwrap_err().starts_with("must be an ISO 4217 code"), "{text}");
        }
    }

    #[test]
    fn an_amount_is_shown_with_as_many_digits_as_its_minor_unit_has() {
        let shown = |code, amount| Currency::parse(code).unwrap().show(amount);
        assert_eq!([shown("EUR", 1234), shown("EUR", 5), shown("JPY", 1234)], ["12.34 EUR", "0.05 EUR", "1234 JPY"]);
        assert_eq!(shown("KWD", 12_345), "12.345 KWD");
    }
}
