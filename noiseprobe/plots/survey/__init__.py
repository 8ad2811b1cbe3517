"""A questionnaire as one self-contained HTML page."""
