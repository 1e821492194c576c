"""The probes, one module a claim, under the claim's own name: `rest.fields` is `rest_fields.py`."""
