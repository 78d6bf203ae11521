"""What notebooks show of records whose fields alone would say too little. Loaded when one is shown.

`groups` has the tables of accuracies, `stored` what the service keeps, `answers` what it computes.
"""
