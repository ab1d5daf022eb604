"""The paper's human study."""
