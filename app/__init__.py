"""The Streamlit app: thin pages over the public face of `kpi`."""
