//! The JSON Schema of the file, for editors.

use schemars::generate::SchemaSettings;

use super::text::FileText;

/// JSON Schema 2020-12 of the configuration file, made from its mirror.
pub fn schema() -> serde_json::Value {
    let generator = SchemaSettings::draft2020_12().into_generator();
    let mut schema = generator.into_root_schema_for::<FileText>();
    schema.insert("title".into(), "Ostler configuration".into());
    schema.to_value()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schema_knows_keys_words_and_descriptions() {
        let schema = schema();
        assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
        assert!(schema["properties"]["listeners"].is_object());
        let text = schema.to_string();
        for word in ["peak-ewma", "http/1.1", "redirect_https", "try-all", "Longest idleness."] {
            assert!(text.contains(word), "{word}");
        }
        assert_eq!(schema["additionalProperties"], false);
    }
}
